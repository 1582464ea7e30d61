"""What is known of the file's accuracy, from the rows that were drawn at random and what people said of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import attrgetter

import numpy as np

from annotation.jobs.round_metrics import RoundMetrics
from annotation.models import Flag, Iteration
from annotation.pipeline.measure.answered_draw import AnsweredDraw
from annotation.pipeline.measure.checked_rows import CheckedRows
from mlcore.measure.estimate import (
    ClassQuality,
    Interval,
    estimate_classes,
    estimate_share,
    estimate_wrong,
    rows_for_margin,
)

FEW_ROWS = 10  # answered; below, nothing is said
MARGIN = 0.02  # of the interval that the advice on further draws aims at


@dataclass(frozen=True, slots=True)
class FlagPrecision:
    """``wrong`` of ``checked`` rows with this flag had a wrong label; the interval is of those drawn at random alone."""

    flag: Flag
    checked: int
    wrong: int
    drawn: int
    share: Interval


class Evidence(CheckedRows):
    """What the checked rows tell; each figure is worked out once, when it is asked for."""

    @cached_property
    def answered_draws(self) -> list[AnsweredDraw]:
        number = attrgetter("draw_number")
        by_draw = groupby(sorted(self.draws, key=number), key=number)
        return [AnsweredDraw(list(rows), self) for _number, rows in by_draw]

    @cached_property
    def wrong_left(self) -> Interval | None:
        """Wrong rows among those that no person has decided alone."""
        if not self.answered:
            return None
        draws = [draw.counts_of_file() for draw in self.answered_draws]
        return estimate_wrong(draws, least=0, most=self.unchecked_rows)

    @cached_property
    def accuracy(self) -> Interval | None:
        """Of the file as it is now, people's rows included; rows without a label are not counted."""
        wrong = self.wrong_left
        return None if wrong is None else right_share(wrong, self.unchecked_rows + len(self.checked))

    def round_accuracy(self, iteration: Iteration) -> Interval | None:
        """Of what a round's models would say of all rows by themselves."""
        rows = sum((RoundMetrics.of(iteration).rows or {}).values())
        if not rows:
            return None
        draws = [draw.counts_of_round(iteration) for draw in self.answered_draws]
        wrong = estimate_wrong(draws, least=0, most=rows)
        return None if wrong is None else right_share(wrong, rows)

    @cached_property
    def unmeasured(self) -> int:
        """Rows with another label than the models say, set in bulk, of which no draw says anything."""
        answered = [draw for draw in self.answered_draws if draw.answers]
        return sum(
            bulk.rows for bulk in self.bulk_rows if all(draw.unmeasured_share(bulk) for draw in answered)
        )

    @cached_property
    def wrong_in_bulk(self) -> float:
        """About how many of the wrong rows left were decided in bulk, as far as a draw tells: the queue never shows them."""
        estimates = []
        for draw in self.answered_draws:
            weights = {row.sample_id: row.weight for row in draw.rows if row.covers_bulk}
            answers = [row for row in draw.answers if row.sample_id in weights]
            if answers:
                scale = sum(weights.values()) / sum(weights[row.sample_id] for row in answers)
                wrong = [row for row in answers if row.bulk_label and self.file_was_wrong(row)]
                left = scale * sum(weights[row.sample_id] for row in wrong) - len(wrong)
                estimates.append((len(answers), left))
        rows = sum(answers for answers, _left in estimates)
        return max(0.0, sum(answers * left for answers, left in estimates) / rows) if rows else 0.0

    @property
    def rows_to_draw(self) -> int:
        """Rows that another draw could hold and that do not wait for an answer already."""
        return max(0, self.unchecked_rows - len(self.overruled) - self.pending)

    @cached_property
    def rows_to_measure(self) -> int:
        """How many more rows to draw for an interval of about plus or minus ``MARGIN``."""
        wrong = sum(map(self.file_was_wrong, self.answered))
        rate = (wrong + 1) / (len(self.answered) + 2)
        return max(0, rows_for_margin(rate, MARGIN, self.unchecked_rows) - len(self.answered))

    @cached_property
    def classes(self) -> tuple[list[ClassQuality], Interval | None]:
        """Precision, recall and F1 of each label, and macro F1, of the file as it is now."""
        index = {label.pk: position for position, label in enumerate(self.labels)}
        weights = {draw.sample_id: draw.weight for draw in self.draws}
        answers = [
            (index[label_id], index[row.true_label_id], weights[row.sample_id])
            for row in self.answered
            if (label_id := self.file_label(row)) in index
        ]
        given, truth, weight = (
            (np.array(column) for column in zip(*answers, strict=True)) if answers else 3 * [np.zeros(0, int)]
        )
        decided = Counter(row.label_id for row in self.checked)
        return estimate_classes(
            given,
            truth,
            weight,
            open_rows=np.array([self.unchecked_by_label[label.pk] for label in self.labels]),
            decided=np.array([decided[label.pk] for label in self.labels]),
            wrong_left=self.wrong_left or Interval(0.0, 0.0, 0.0),
        )

    @cached_property
    def flags(self) -> list[FlagPrecision]:
        """How often a row with a flag was wrong, among those that people checked."""
        precisions = []
        for flag in (Flag.WRONG, Flag.INCONSISTENT, Flag.RIGHT):
            checked = [row for row in self.checked if self.model_label(self.current, row).flag == flag]
            wrong = [row for row in checked if self.model_was_wrong(self.current, row)]
            drawn = sum(bool(row.draw_number) for row in checked)
            share = estimate_share(sum(bool(row.draw_number) for row in wrong), drawn)
            precisions.append(FlagPrecision(flag, len(checked), len(wrong), drawn, share))
        return precisions


def right_share(wrong: Interval, rows: int) -> Interval:
    """Wrong rows as accuracy."""
    return Interval(*(1.0 - count / max(rows, 1) for count in (wrong.value, wrong.high, wrong.low)))
