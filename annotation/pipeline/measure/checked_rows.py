"""The rows that people decided, the draws that they answer, and what every round's models say of them.

Only read here; :mod:`annotation.pipeline.measure.accuracy` has the figures. A label that a person gave a row alone is taken as
the truth. A label that was set in bulk is not: nobody need have looked at the row, so it counts among the rows that are
measured, like those that nobody decided. The models' label of a row that a person decided is what the round's models
would say had nobody looked (their opinions are out of fold), so rounds can be compared on the very same rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Self

from django.db.models import Count
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from annotation.jobs import kinds
from annotation.jobs.details import TrainingDetail
from annotation.jobs.round_metrics import RoundMetrics
from annotation.models import (
    AuditDraw,
    CorrectionBatch,
    Iteration,
    Label,
    Prediction,
    Project,
    Sample,
    Source,
)
from annotation.models.sql import among
from annotation.pipeline.measure.annotations import RowAnnotations, read_annotations


@dataclass(frozen=True, slots=True)
class BulkLabel:
    """A label that a row had got in bulk when a person looked at it alone."""

    label_id: int
    at: datetime


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """A row that a person decided alone.

    Attributes:
        label_id: the row's label now.
        first_at: when a person first gave it a label alone.
        draw_number: the draw that it answers; 0 if it was not drawn, or decided before somebody answered it blind.
        true_label_id: the blind answer, also after somebody corrected it; without one, the row's label.
        from_queue: the review queue showed it, which never shows rows that are drawn.
        bulk_label: what had been decided in bulk before; None where the models' label stood.
    """

    sample_id: int
    label_id: int
    first_at: datetime
    llm_label_id: int | None
    draw_number: int
    true_label_id: int
    from_queue: bool
    bulk_label: BulkLabel | None = None


@dataclass(frozen=True, slots=True)
class BulkRows:
    """The rows whose label one bulk correction set, with one label of theirs and one of the models.

    Attributes:
        model_label_id: what the models say of them; None if they say nothing.
        until: when the correction was done; now, if it is still at work.
    """

    label_id: int
    model_label_id: int | None
    rows: int
    until: datetime

    @property
    def is_relabelled(self) -> bool:
        """Whether the file has another label than the models say."""
        return self.label_id != self.model_label_id


@dataclass(frozen=True, slots=True)
class ModelLabel:
    """What a round's models would say of a row by themselves."""

    label_id: int | None
    slm_label_id: int | None = None
    flag: str = ""


@dataclass
class CheckedRows:
    """All that is read for one look at a project: a constant number of queries over the rows that people decided alone,
    never over all rows, nor over those that were decided in bulk, which are only counted."""

    project: Project
    labels: list[Label]
    checked: list[CheckedRow]
    draws: list[AuditDraw]
    rounds: list[Iteration]  # judged by a small model, oldest first
    annotations: dict[int, RowAnnotations] = field(default_factory=dict)  # of checked and of drawn rows
    model_labels: dict[int, dict[int, ModelLabel]] = field(default_factory=dict)  # by round and row
    overruled: list[CheckedRow] = field(default_factory=list)  # answered blind, and then decided in bulk
    bulk_rows: list[BulkRows] = field(default_factory=list)

    @classmethod
    def read(cls, project: Project) -> Self:
        draws = list(AuditDraw.objects.filter(project=project).order_by("id"))
        draw_numbers = {draw.sample_id: draw.draw_number for draw in draws}
        alone = project.samples.checked_alone().filter(label__isnull=False).order_by()
        rows = list(alone.values_list("pk", "label_id", "llm_label_id", "corrected_at"))
        annotations = read_annotations(among([*{*draw_numbers, *(pk for pk, *_rest in rows)}]))
        bulk_rows = list(_bulk_rows(project))
        return cls(
            project,
            project.label_list(),
            [
                _checked_row(*row, draw_numbers.get(row[0], 0), annotations.get(row[0], RowAnnotations()))
                for row in rows
            ],
            draws,
            list(project.iterations.judged().order_by("number")),
            annotations,
            overruled=list(_overruled(project, draw_numbers, annotations)) if bulk_rows else [],
            bulk_rows=bulk_rows,
        )

    # --- Rounds ---------------------------------------------------------------------------------------------------

    @cached_property
    def standing_rounds(self) -> list[Iteration]:
        """The rounds that nobody went back from, oldest first."""
        return [iteration for iteration in self.rounds if iteration.withdrawn_at is None]

    @cached_property
    def current(self) -> Iteration | None:
        """The round whose labels are in force."""
        return self.standing_rounds[-1] if self.standing_rounds else None

    def model_label(self, iteration: Iteration | None, row: CheckedRow) -> ModelLabel:
        """What a round's models say of a row; without a round, or where it says nothing, the LLM's label."""
        if iteration is None:
            return ModelLabel(row.llm_label_id)
        return self._of_round(iteration).get(row.sample_id, ModelLabel(row.llm_label_id))

    def _of_round(self, iteration: Iteration) -> dict[int, ModelLabel]:
        if iteration.pk not in self.model_labels:
            # By their numbers: a join over all rows that people decided would walk over all of the round.
            predicted = Prediction.objects.filter(
                iteration=iteration, source=Prediction.ModelKind.SLM, sample__in=among([*self.checked_by_id])
            )
            columns = ("sample_id", "verdict_id", "label_id", "flag")
            self.model_labels[iteration.pk] = {
                row: ModelLabel(verdict, label, flag)
                for row, verdict, label, flag in predicted.values_list(*columns)
            }
        return self.model_labels[iteration.pk]

    def model_was_wrong(self, iteration: Iteration | None, row: CheckedRow) -> bool:
        return self.model_label(iteration, row).label_id != row.true_label_id

    def file_label(self, row: CheckedRow) -> int | None:
        """What the file would have had anybody not looked at this row alone."""
        return row.bulk_label.label_id if row.bulk_label else self.model_label(self.current, row).label_id

    def file_was_wrong(self, row: CheckedRow) -> bool:
        return self.file_label(row) != row.true_label_id

    # --- Rows drawn at random -------------------------------------------------------------------------------------

    @cached_property
    def answered(self) -> list[CheckedRow]:
        """The drawn rows that were answered blind."""
        return [*(row for row in self.checked if row.draw_number), *self.overruled]

    @cached_property
    def checked_by_id(self) -> dict[int, CheckedRow]:
        return {row.sample_id: row for row in (*self.checked, *self.overruled)}

    @property
    def pending(self) -> int:
        """Drawn rows that wait for an answer."""
        return sum(draw.sample_id not in self.checked_by_id for draw in self.draws)

    @property
    def learned(self) -> int:
        """Answered random rows that the current round learned from. Its models' opinions of them are out of fold, but the
        weights of these opinions were fitted to them, so on them they may look a little better than on others."""
        if self.current is None:
            return 0
        training = self.current.stage(kinds.SLM.key)
        read_at = parse_datetime(TrainingDetail.of(training).read_at) if training else None
        return sum(row.first_at < (read_at or self.current.created_at) for row in self.answered)

    # --- Counts over all rows -------------------------------------------------------------------------------------

    @property
    def decided_in_bulk(self) -> int:
        """Rows that people decided many at a time: hardly anybody looked at each."""
        return sum(bulk.rows for bulk in self.bulk_rows)

    @cached_property
    def open_by_label(self) -> dict[int, int]:
        """Rows of each current label that no person has decided."""
        stored = RoundMetrics.of(self.current).rows if self.current else None
        if stored is None:
            rows = self.project.samples.filter(label__isnull=False).exclude(source=Source.PERSON).order_by()
            return dict(rows.values_list("label").annotate(Count("pk")))
        counts = Counter({int(label_id): count for label_id, count in stored.items()})
        models_say = (self.model_label(self.current, row).label_id for row in self.checked)
        counts.subtract(label_id for label_id in models_say if label_id)
        for bulk in self.bulk_rows:
            if bulk.model_label_id:
                counts[bulk.model_label_id] -= bulk.rows
        return {label_id: max(count, 0) for label_id, count in counts.items()}

    @property
    def open_rows(self) -> int:
        return sum(self.open_by_label.values())

    @cached_property
    def unchecked_by_label(self) -> Counter[int]:
        """Rows of each label of the file that no person has decided alone."""
        counts = Counter(self.open_by_label)
        for bulk in self.bulk_rows:
            counts[bulk.label_id] += bulk.rows
        return counts

    @property
    def unchecked_rows(self) -> int:
        return self.unchecked_by_label.total()


def _checked_row(
    sample_id: int,
    label_id: int,
    llm_label_id: int | None,
    corrected_at: datetime | None,
    draw_number: int,
    said: RowAnnotations,
) -> CheckedRow:
    assert corrected_at
    answer = said.blind_answer if draw_number else None
    return CheckedRow(
        sample_id,
        label_id,
        said.first.at if said.first else corrected_at,
        llm_label_id,
        draw_number if answer else 0,
        answer.label_id if answer else label_id,
        bool(said.first and said.first.from_queue),
        BulkLabel(said.bulk.label_id, said.bulk.at) if said.bulk else None,
    )


def _overruled(
    project: Project, draw_numbers: dict[int, int], annotations: dict[int, RowAnnotations]
) -> Iterator[CheckedRow]:
    """Drawn rows that were answered blind and then decided in bulk: what the file has is known to be right or wrong."""
    rows = Sample.objects.filter(audit_draws__project=project, batch__isnull=False, label__isnull=False)
    for pk, label_id, llm_label_id in rows.order_by().values_list("pk", "label_id", "llm_label_id"):
        if pk in annotations and (answer := annotations[pk].blind_answer):
            bulk_label = BulkLabel(label_id, answer.at)
            yield CheckedRow(
                pk, label_id, answer.at, llm_label_id, draw_numbers[pk], answer.label_id, False, bulk_label
            )


def _bulk_rows(project: Project) -> Iterator[BulkRows]:
    rows = Sample.objects.filter(batch__project=project, batch__isnull=False, label__isnull=False).order_by()
    counted = list(rows.values_list("batch", "label", "machine_label").annotate(count=Count("*")))
    if not counted:
        return
    batches, now = CorrectionBatch.objects.filter(project=project).order_by(), timezone.now()
    columns = ("pk", "created_at", "stage", "stage__finished_at")
    until = {
        pk: (finished_at or now) if stage else created_at
        for pk, created_at, stage, finished_at in batches.values_list(*columns)
    }
    for batch, label_id, model_label_id, count in counted:
        yield BulkRows(label_id, model_label_id, count, until[batch])
