"""One draw and its answers, as counts per stratum from which the number of wrong rows is estimated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from itertools import groupby
from operator import attrgetter

import numpy as np

from annotation.models import AuditDraw, Iteration
from annotation.pipeline.measure.checked_rows import BulkRows, CheckedRow, CheckedRows
from mlcore.measure.answer_times import share_answered_by, share_left
from mlcore.measure.estimate import Draw
from mlcore.measure.sampling import IN_BULK


@dataclass(frozen=True)
class AnsweredDraw:
    """The rows of one draw, and all rows that people decided.

    Rows of the draw that were decided otherwise before they were answered are no answers: what is answered stands for the
    rest of the stratum, and of the wrong rows mended since, only those are taken off that it counts.
    """

    rows: list[AuditDraw]
    evidence: CheckedRows

    def counts_of_file(self) -> Draw:
        """For the number of wrong rows that are left in the file."""
        return self._counts(self.evidence.current, self.evidence.file_was_wrong, left=True)

    def counts_of_round(self, iteration: Iteration) -> Draw:
        """For the number of rows, mended or not, of which a round's models say something wrong."""
        return self._counts(iteration, partial(self.evidence.model_was_wrong, iteration), left=False)

    @cached_property
    def answers(self) -> list[CheckedRow]:
        return [row for row in self.evidence.answered if row.draw_number == self.rows[0].draw_number]

    @cached_property
    def answered_at(self) -> list[datetime]:
        return sorted(row.first_at for row in self.answers)

    def unmeasured_share(self, bulk: BulkRows, *, left: bool = True) -> float:
        """Of the rows, the share on whose labels the draw's answers say nothing.

        Rows that could not be drawn are such. So are those that got another label than the models' after an answer was
        given; one that was only accepted has the label that the answers tell of.
        """
        drawn_at, covers_bulk = self.rows[0].drawn_at, self.rows[0].covers_bulk
        if bulk.until <= drawn_at and not covers_bulk:
            return 1.0
        if not left or not bulk.is_relabelled:
            return 0.0
        if bulk.model_label_id is None and bulk.until > drawn_at:
            return 1.0
        return share_answered_by(bulk.until, self.answered_at)

    def _counts(
        self, iteration: Iteration | None, is_wrong: Callable[[CheckedRow], bool], *, left: bool
    ) -> Draw:
        unmeasured = sum(
            bulk.rows * self.unmeasured_share(bulk, left=left) for bulk in self.evidence.bulk_rows
        )
        strata: list[tuple[int, int, int]] = []
        outside = self.rows[0].frame_rows  # of strata whose rows all went back unanswered
        by_stratum = attrgetter("stratum")
        for name, drawn in groupby(sorted(self.rows, key=by_stratum), key=by_stratum):
            members = list(drawn)
            rows, answered, wrong = self._count_stratum(members, is_wrong)
            strata.append((rows, answered, wrong))
            outside -= members[0].stratum_rows
            if left and name.startswith(IN_BULK) and not answered:
                unmeasured += rows
        if outside > 0:
            strata.append((outside, 0, 0))
        counted = self._mended_and_counted(iteration, is_wrong)
        known_wrong = -counted if left else sum(map(is_wrong, self.evidence.checked)) - counted
        rows, checked, wrong_rows = np.array(strata).T
        return Draw(rows, checked, wrong_rows, known_wrong, unmeasured)

    def _count_stratum(
        self, members: Sequence[AuditDraw], is_wrong: Callable[[CheckedRow], bool]
    ) -> tuple[int, int, int]:
        """Of a stratum, the rows for which its answers stand, how many are answered and how many of these wrong."""
        checked = self.evidence.checked_by_id
        decided = [checked[draw.sample_id] for draw in members if draw.sample_id in checked]
        answers = [row for row in decided if row.draw_number]
        share = share_left(
            members[0].stratum_drawn,
            [row.first_at for row in answers],
            [row.first_at for row in decided if not row.draw_number],
        )
        rows = max(round(members[0].stratum_rows * share), len(answers))
        return rows, len(answers), sum(map(is_wrong, answers))

    def _mended_and_counted(
        self, iteration: Iteration | None, is_wrong: Callable[[CheckedRow], bool]
    ) -> float:
        """How many of the wrong rows that people mended the answers stand for as well.

        Answers from before a row was decided in bulk stand for what the models said of it, later ones for the label that it
        got.
        """
        drawn, drawn_at = {draw.sample_id for draw in self.rows}, self.rows[0].drawn_at
        total = 0.0
        for row in self.evidence.checked:
            model_was_wrong, was_wrong = self.evidence.model_was_wrong(iteration, row), is_wrong(row)
            if not (model_was_wrong or was_wrong):
                continue
            if row.draw_number == self.rows[0].draw_number:
                total += was_wrong
            elif row.sample_id in drawn or row.first_at > drawn_at:
                never_drawn = row.from_queue and row.sample_id not in drawn
                share = 1.0 if never_drawn else share_answered_by(row.first_at, self.answered_at)
                before_bulk = share
                if row.bulk_label:
                    before_bulk = min(share, share_answered_by(row.bulk_label.at, self.answered_at))
                total += before_bulk * model_was_wrong + (share - before_bulk) * was_wrong
        return total
