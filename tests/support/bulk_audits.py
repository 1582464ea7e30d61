"""Simulated audits of a file in which people decide rows in bulk: draws, answers, bulk corrections, mended rows and rounds in
any order, measured by the code that the pages use."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np

from annotation.models import AuditDraw, Iteration, Label, Project
from annotation.pipeline.measure import draw_sample
from annotation.pipeline.measure.accuracy import Evidence
from annotation.pipeline.measure.checked_rows import BulkLabel, BulkRows, CheckedRow, ModelLabel
from mlcore.records import BoolArray, FloatArray, IntArray

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
LABELS = (1, 2)


class SimulatedFile:
    """Rows with two labels, 1 and 2; ``wrong (N,)`` of the models' labels are."""

    def __init__(
        self,
        models_say: IntArray,
        wrong: BoolArray,
        differ: BoolArray,
        risk: FloatArray,
        rng: np.random.Generator,
    ) -> None:
        self.rng = rng
        self.models_say = models_say.copy()
        self.truth = np.where(wrong, 3 - models_say, models_say)
        self.label = models_say.copy()
        self.differ, self.risk = differ, risk
        self.batch = np.zeros(len(wrong), dtype=int)  # 0: not in bulk
        self.alone = np.zeros(len(wrong), dtype=bool)
        self.checked: dict[int, CheckedRow] = {}
        self.draws: list[AuditDraw] = []
        self.batches: list[datetime] = []
        self.now = BEGIN

    def _later(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def draw(self, rows: int) -> None:
        """As ``audit.draw_sample`` does, without its database."""
        at, left = self._later(), np.flatnonzero(~self.alone)
        frame = np.zeros(len(left), dtype=draw_sample.FRAME)
        in_bulk = self.batch[left] > 0
        accepted = self.label[left] == self.models_say[left]
        frame["pk"], frame["label"], frame["differ"] = left, self.label[left], self.differ[left]
        frame["risk"] = np.where(in_bulk, np.nan, self.risk[left])
        frame["bulk"] = np.where(in_bulk, np.where(accepted, 1, 2), 0)
        checked = Counter(dict.fromkeys(LABELS, rows))
        chosen = draw_sample.choose_rows(frame, rows=rows, checked=checked, rng=self.rng)
        self.draws = [draw for draw in self.draws if draw.sample_id in self.checked]
        number = 1 + max((draw.draw_number for draw in self.draws), default=0)
        counts = Counter(draw.stratum for draw in chosen)
        for draw in chosen:
            draw.draw_number, draw.drawn_at, draw.covers_bulk = number, at, True
            draw.stratum_drawn = counts[draw.stratum]
        self.draws += chosen

    def answer(self, rows: int | None = None) -> None:
        """The next drawn rows, blind."""
        waiting = [draw for draw in self.draws if not self.alone[draw.sample_id]]
        for draw in waiting[:rows]:
            self._say(draw.sample_id, draw=draw.draw_number)

    def mend(self, rows: IntArray, *, from_queue: bool = False) -> None:
        """In the table or in the queue, which never shows drawn rows, nor those that were decided in bulk."""
        drawn = {draw.sample_id for draw in self.draws} if from_queue else set()
        for row in rows.tolist():
            if not self.alone[row] and row not in drawn and not (from_queue and self.batch[row]):
                self._say(row, from_queue=from_queue)

    def _say(self, row: int, *, draw: int = 0, from_queue: bool = False) -> None:
        truth = int(self.truth[row])
        batch = int(self.batch[row])
        bulk_label = BulkLabel(int(self.label[row]), self.batches[batch - 1]) if batch else None
        self.checked[row] = CheckedRow(row, truth, self._later(), None, draw, truth, from_queue, bulk_label)
        self.label[row], self.alone[row], self.batch[row] = truth, True, 0

    def decide_in_bulk(self, rows: BoolArray, label: IntArray | int | None = None) -> None:
        """Accept rows that nobody has decided, or give them a label."""
        meant = rows & ~self.alone & (self.batch == 0)
        self.batches.append(self._later())
        self.batch[meant] = len(self.batches)
        if label is not None:
            self.label[meant] = np.broadcast_to(label, meant.shape)[meant]

    def run_models(self, say: IntArray) -> None:
        """A new round; people's labels stay."""
        self.models_say = say
        free = ~self.alone & (self.batch == 0)
        self.label[free] = say[free]

    def evidence(self) -> Evidence:
        counts = np.bincount(self.models_say, minlength=3)
        rows = {str(label): int(counts[label]) for label in LABELS}
        model_labels = {1: {row: ModelLabel(int(self.models_say[row])) for row in self.checked}}
        rounds = [Iteration(pk=1, number=1, metrics={"rows": rows})]
        labels = [Label(pk=label, name=str(label)) for label in LABELS]
        found = np.unique(
            np.stack([self.batch, self.label, self.models_say])[:, self.batch > 0], axis=1, return_counts=True
        )
        bulk_rows = [
            BulkRows(int(label), int(machine), int(count), self.batches[batch - 1])
            for (batch, label, machine), count in zip(found[0].T, found[1], strict=True)
        ]
        checked = list(self.checked.values())
        return Evidence(
            Project(), labels, checked, self.draws, rounds, model_labels=model_labels, bulk_rows=bulk_rows
        )

    @property
    def wrong_left(self) -> int:
        return int((self.label != self.truth)[~self.alone].sum())
