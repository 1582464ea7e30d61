"""What is known of the file's accuracy, from the rows that were drawn at random and what people said of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np

from annotation.models import AuditDraw, Flag, Iteration, Label
from annotation.pipeline.measure.blind_answers import BLIND, share_answered_by, share_left
from annotation.pipeline.measure.checked_rows import CheckedRows, InBulk, Word
from mlcore.measure.agreement import cohen_kappa, krippendorff_alpha, paired_test
from mlcore.measure.estimate import (
    Batch,
    ClassQuality,
    Interval,
    estimate_classes,
    estimate_share,
    estimate_wrong,
    rows_for_margin,
)
from mlcore.measure.sampling import IN_BULK
from mlcore.records import NO_LABEL, IntArray

FEW_ROWS = 10  # answered; below, nothing is said
BEYOND_CHANCE = 0.05
MARGIN = 0.02


@dataclass(frozen=True, slots=True)
class FlagPrecision:
    """``wrong`` of ``checked`` rows with this flag had a wrong label; the interval is of those drawn at random alone."""

    flag: Flag
    checked: int
    wrong: int
    drawn: int
    share: Interval


@dataclass(frozen=True, slots=True)
class Comparison:
    """A round against the one before it: on the audited rows, and by the shares of its classes."""

    before: Iteration
    after: Iteration
    rows: int
    better: int
    worse: int
    chance: float
    lost_labels: list[str]

    @property
    def chance_words(self) -> str:
        return "< 0.001" if self.chance < 0.001 else f"= {self.chance:.3f}"

    @property
    def is_worse(self) -> bool:
        return bool(self.lost_labels) or (self.worse > self.better and self.chance < BEYOND_CHANCE)


class Evidence(CheckedRows):
    """What the checked rows tell; each figure is worked out once, when it is asked for."""

    # --- Accuracy -------------------------------------------------------------------------------------------------

    @cached_property
    def wrong_left(self) -> Interval | None:
        """Wrong rows among those that no person has decided alone."""
        if not self.answered:
            return None
        return estimate_wrong(self._batches(self.current, left=True), least=0, most=self.unchecked_rows)

    @cached_property
    def accuracy(self) -> Interval | None:
        """Of the file as it is now, people's rows included; rows without a label are not counted."""
        wrong = self.wrong_left
        return None if wrong is None else right_share(wrong, self.unchecked_rows + len(self.words))

    def round_accuracy(self, iteration: Iteration) -> Interval | None:
        """Of what a round's models would say of all rows by themselves."""
        rows = sum(iteration.metrics.get("rows", {}).values())
        if not rows:
            return None
        wrong = estimate_wrong(self._batches(iteration, left=False), least=0, most=rows)
        return None if wrong is None else right_share(wrong, rows)

    def _batches(self, iteration: Iteration | None, *, left: bool) -> list[Batch]:
        """The draws with what the file, or a round, said of their rows. Counted on are the wrong rows left, or all of the
        round's."""
        error = self.was_wrong if left else lambda word: self.is_wrong(iteration, word)
        return [self._batch(drawn, iteration, error, left=left) for drawn in self._draws_by_batch.values()]

    @cached_property
    def _draws_by_batch(self) -> dict[int, list[AuditDraw]]:
        found: dict[int, list[AuditDraw]] = {}
        for draw in sorted(self.draws, key=lambda each: each.batch):
            found.setdefault(draw.batch, []).append(draw)
        return found

    def _batch(
        self,
        drawn: list[AuditDraw],
        iteration: Iteration | None,
        error: Callable[[Word], bool],
        *,
        left: bool,
    ) -> Batch:
        """One draw. Its rows that were decided otherwise before they were answered are no answers: what is answered stands
        for the rest of the stratum, and of the wrong rows mended since, only those are taken off that it counts."""
        words, number = self.word_of, drawn[0].batch
        answers = {word.sample_id: word for word in self.answered if word.batch == number}
        rows, checked, errors = [], [], []
        unsure = self._unsure(drawn[0], left=left)
        for name in sorted({draw.stratum for draw in drawn}):
            stratum = [draw for draw in drawn if draw.stratum == name]
            decided = [words[draw.sample_id] for draw in stratum if draw.sample_id in words]
            answered = [word.first_at for word in decided if word.batch]
            lost = [word.first_at for word in decided if not word.batch]
            share = share_left(stratum[0].stratum_drawn, answered, lost)
            rows.append(max(round(stratum[0].stratum_rows * share), len(answered)))
            checked.append(len(answered))
            errors.append(
                sum(error(answers[draw.sample_id]) for draw in stratum if draw.sample_id in answers)
            )
            if left and name.startswith(IN_BULK) and not answered:
                unsure += rows[-1]
        framed = {draw.stratum: draw.stratum_rows for draw in drawn}
        others = drawn[0].frame_rows - sum(framed.values())  # strata whose rows all went back unanswered
        if others > 0:
            rows, checked, errors = [*rows, others], [*checked, 0], [*errors, 0]
        counted = self._counted(drawn, iteration, left=left)
        known = -counted if left else sum(map(error, self.words)) - counted
        return Batch(np.array(rows), np.array(checked), np.array(errors), known, unsure)

    def _counted(self, drawn: list[AuditDraw], iteration: Iteration | None, *, left: bool) -> float:
        """How many of the wrong rows that people mended the draw's answers stand for as well. Answers from before a row was
        decided in bulk stand for what the models said of it, later ones for the label that it got."""
        inside, number = {draw.sample_id for draw in drawn}, drawn[0].batch
        answered_at = self._answered_at(number)
        total = 0.0
        for word in self.words:
            wrong = self.is_wrong(iteration, word)
            was_wrong = self.was_wrong(word) if left and word.stood else wrong
            if not (wrong or was_wrong):
                continue
            if word.batch == number:
                total += was_wrong
            elif word.sample_id in inside or word.first_at > drawn[0].drawn_at:
                sheltered = word.from_queue and word.sample_id not in inside
                share = 1.0 if sheltered else share_answered_by(word.first_at, answered_at)
                stood = min(share, share_answered_by(word.stood.at, answered_at)) if word.stood else share
                total += stood * wrong + (share - stood) * was_wrong
        return total

    def _answered_at(self, number: int) -> list[datetime]:
        return sorted(word.first_at for word in self.answered if word.batch == number)

    def _unsure(self, draw: AuditDraw, *, left: bool) -> float:
        """Of how many rows, decided in bulk, the draw's answers say nothing."""
        answered_at = self._answered_at(draw.batch)
        return sum(each.rows * _share_untold(each, draw, answered_at, left=left) for each in self.in_bulk)

    @cached_property
    def unmeasured(self) -> int:
        """Rows with another label than the models say, set in bulk, of which no draw says anything."""
        told = [(draw[0], self._answered_at(number)) for number, draw in self._draws_by_batch.items()]
        return sum(
            each.rows
            for each in self.in_bulk
            if all(not at or _share_untold(each, draw, at, left=True) for draw, at in told)
        )

    @cached_property
    def wrong_in_bulk(self) -> float:
        """About how many of the wrong rows left were decided in bulk, as far as a draw tells: the queue never shows them."""
        found = []
        for drawn in self._draws_by_batch.values():
            weights = {draw.sample_id: draw.weight for draw in drawn if draw.covers_bulk}
            answers = [word for word in self.answered if word.sample_id in weights]
            if answers:
                scale = sum(weights.values()) / sum(weights[word.sample_id] for word in answers)
                wrong = [word for word in answers if word.stood and self.was_wrong(word)]
                found.append(
                    (len(answers), scale * sum(weights[word.sample_id] for word in wrong) - len(wrong))
                )
        rows = sum(count for count, _left in found)
        return max(0.0, sum(count * left for count, left in found) / rows) if rows else 0.0

    @property
    def rows_to_draw(self) -> int:
        """Rows that another draw could hold and that do not wait for an answer already."""
        return max(0, self.unchecked_rows - len(self.overruled) - self.pending)

    @cached_property
    def rows_to_measure(self) -> int:
        """How many more rows to draw for an interval of about plus or minus ``MARGIN``."""
        found = sum(map(self.was_wrong, self.answered))
        rate = (found + 1) / (len(self.answered) + 2)
        return max(0, rows_for_margin(rate, MARGIN, self.unchecked_rows) - len(self.answered))

    @cached_property
    def classes(self) -> tuple[list[ClassQuality], Interval | None]:
        """Precision, recall and F1 of each label, and macro F1, of the file as it is now."""
        place = {label.pk: number for number, label in enumerate(self.labels)}
        weights = {draw.sample_id: draw.weight for draw in self.draws}
        seen = [
            (place[label_id], place[word.truth], weights[word.sample_id])
            for word in self.answered
            if (label_id := self.file_label(word)) in place
        ]
        machine, truth, weight = (
            (np.array(column) for column in zip(*seen, strict=True)) if seen else 3 * [np.zeros(0, int)]
        )
        decided = Counter(word.label_id for word in self.words)
        wrong = self.wrong_left or Interval(0.0, 0.0, 0.0)
        return estimate_classes(
            machine,
            truth,
            weight,
            open_rows=np.array([self.unchecked_by_label[label.pk] for label in self.labels]),
            decided=np.array([decided[label.pk] for label in self.labels]),
            wrong_left=wrong,
        )

    @cached_property
    def flags(self) -> list[FlagPrecision]:
        """How often a row with a flag was wrong, among those that people checked."""
        found = []
        for flag in (Flag.WRONG, Flag.INCONSISTENT, Flag.RIGHT):
            checked = [word for word in self.words if self.said(self.current, word).flag == flag]
            wrong = [word for word in checked if self.is_wrong(self.current, word)]
            drawn = sum(bool(word.batch) for word in checked)
            share = estimate_share(sum(bool(word.batch) for word in wrong), drawn)
            found.append(FlagPrecision(flag, len(checked), len(wrong), drawn, share))
        return found

    # --- Rounds and raters ----------------------------------------------------------------------------------------

    def compare(self, before: Iteration, after: Iteration) -> Comparison:
        """McNemar's exact test on the audited rows, and labels that have all but vanished."""
        was, now = (
            np.array([not self.is_wrong(each, word) for word in self.answered], dtype=bool)
            for each in (before, after)
        )
        better, worse, chance = paired_test(was, now)
        return Comparison(
            before, after, len(self.answered), better, worse, chance, lost_labels(before, after, self.labels)
        )

    def ratings(self) -> tuple[list[str], IntArray]:
        """Who said what, blind, of the rows drawn at random: people, then the two models ``(R, N)``."""
        place = {label.pk: number for number, label in enumerate(self.labels)}
        rows = {word.sample_id: number for number, word in enumerate(self.answered)}
        people: dict[str, IntArray] = {}
        for sample_id, row in rows.items():
            for said in self.history[sample_id]:
                if said.user is not None and said.because in BLIND:
                    line = people.setdefault(said.user, np.full(len(rows), NO_LABEL))
                    line[row] = place[said.label_id]
        machine = [self.said(self.current, word) for word in self.answered]
        models = {
            "LLM": [place.get(word.llm_label_id or 0, NO_LABEL) for word in self.answered],
            "SLM": [place.get(each.slm_label_id or 0, NO_LABEL) for each in machine],
        }
        lines = [*people.values(), *(np.array(line, dtype=np.int64) for line in models.values())]
        return [*people, *models], np.stack(lines)

    @cached_property
    def agreement(self) -> tuple[list[tuple[str, str, int, float]], float | None]:
        """Cohen's kappa of every pair with at least ``FEW_ROWS`` common rows, and Krippendorff's alpha of all."""
        names, lines = self.ratings()
        pairs = []
        for first, name in enumerate(names):
            for second in range(first + 1, len(names)):
                common = int(((lines[first] != NO_LABEL) & (lines[second] != NO_LABEL)).sum())
                kappa = cohen_kappa(lines[first], lines[second], len(self.labels))
                if common >= FEW_ROWS and kappa is not None:
                    pairs.append((name, names[second], common, kappa))
        return pairs, krippendorff_alpha(lines, len(self.labels)) if len(self.answered) >= FEW_ROWS else None


def _share_untold(each: InBulk, draw: AuditDraw, answered_at: list[datetime], *, left: bool) -> float:
    """Of the rows, the share on whose labels the draw's answers say nothing.

    Rows that could not be drawn are such. So are those that got another label than the models' after an answer was given;
    one that was only accepted has the label that the answers tell of.
    """
    if each.until <= draw.drawn_at and not draw.covers_bulk:
        return 1.0
    if not left or not each.is_other:
        return 0.0
    if each.machine_label_id is None and each.until > draw.drawn_at:
        return 1.0
    return share_answered_by(each.until, answered_at)


def right_share(wrong: Interval, rows: int) -> Interval:
    """Wrong rows as accuracy."""
    return Interval(*(1.0 - each / max(rows, 1) for each in (wrong.value, wrong.high, wrong.low)))


LEAST_SHARE = 0.02  # of the file; a smaller label may vanish without alarm
COLLAPSE = 0.2  # what is left of its share when a label has all but vanished


def lost_labels(before: Iteration, after: Iteration, labels: Sequence[Label]) -> list[str]:
    """Labels that have all but vanished since the round before."""
    was, now = (each.metrics.get("rows", {}) for each in (before, after))
    if not was or not now:
        return []
    then, since = sum(was.values()), sum(now.values())
    return [
        label.name
        for label in labels
        if (share := was.get(str(label.pk), 0) / then) >= LEAST_SHARE
        and now.get(str(label.pk), 0) / since < COLLAPSE * share
    ]
