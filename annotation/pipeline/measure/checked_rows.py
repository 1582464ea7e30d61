"""The rows that people decided, the draws that they answer, and what every round's models say of them.

Only read here; :mod:`annotation.pipeline.measure.accuracy` has the figures. What a person said of a row alone is taken as the
truth. A label that was set in bulk is not: nobody need have looked at the row, so it counts among the rows that are
measured, like those that nobody decided. The machines' label of a row that a person decided is what the round's models
would say had nobody looked (their opinions are out of fold), so rounds can be compared on the very same rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Self

from django.db.models import Count
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from annotation.models import (
    AuditDraw,
    Correction,
    CorrectionBatch,
    Iteration,
    Label,
    Prediction,
    Project,
    Sample,
    Source,
    Stage,
)
from annotation.models.sql import among
from annotation.pipeline.measure.blind_answers import Said, blind_answers, said_of_drawn_rows


@dataclass(frozen=True, slots=True)
class BulkLabel:
    """A label that a row had got in bulk when a person looked at it alone."""

    label_id: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Word:
    """A row that a person decided alone.

    ``batch`` is the draw that it answers; 0 if it was not drawn, or decided before somebody answered it blind.
    ``truth`` is the blind answer, also after somebody corrected it; without one, the row's label.
    ``from_queue``: the review queue showed it, which never shows rows that are drawn.
    ``stood``: what had been decided in bulk before; None where the models' label stood.
    """

    sample_id: int
    label_id: int
    first_at: datetime
    llm_label_id: int | None
    batch: int
    truth: int
    from_queue: bool
    stood: BulkLabel | None = None


@dataclass(frozen=True, slots=True)
class InBulk:
    """Rows of one bulk correction whose word stands, with one label.

    ``machine_label_id``: what the models say of them; None if they say nothing.
    ``until``: when the correction was done; now, if it is still at work.
    """

    label_id: int
    machine_label_id: int | None
    rows: int
    until: datetime

    @property
    def is_other(self) -> bool:
        """Whether the file has another label than the models say."""
        return self.label_id != self.machine_label_id


@dataclass(frozen=True, slots=True)
class Machine:
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
    words: list[Word]
    draws: list[AuditDraw]
    rounds: list[Iteration]  # judged by a small model, oldest first
    history: dict[int, list[Said]] = field(default_factory=dict)  # drawn row -> what people said of it
    machine: dict[int, dict[int, Machine]] = field(default_factory=dict)  # round -> row -> what it said
    overruled: list[Word] = field(default_factory=list)  # answered blind, and then decided in bulk
    in_bulk: list[InBulk] = field(default_factory=list)

    @cached_property
    def standing(self) -> list[Iteration]:
        """The rounds that nobody went back from, oldest first."""
        return [iteration for iteration in self.rounds if iteration.withdrawn_at is None]

    @cached_property
    def current(self) -> Iteration | None:
        """The round whose labels are in force."""
        return self.standing[-1] if self.standing else None

    @cached_property
    def answered(self) -> list[Word]:
        return [*(word for word in self.words if word.batch), *self.overruled]

    @property
    def learned(self) -> int:
        """Answered random rows that the current round learned from. Its models' opinions of them are out of fold, but the
        weights of these opinions were fitted to them, so on them they may look a little better than on others."""
        if self.current is None:
            return 0
        training = self.current.stage(Stage.Kind.SLM)
        read_at = parse_datetime(training.detail_value("read_at", "")) if training else None
        return sum(word.first_at < (read_at or self.current.created_at) for word in self.answered)

    @cached_property
    def word_of(self) -> dict[int, Word]:
        return {word.sample_id: word for word in (*self.words, *self.overruled)}

    @property
    def pending(self) -> int:
        return sum(draw.sample_id not in self.word_of for draw in self.draws)

    @property
    def decided_in_bulk(self) -> int:
        """Rows that people decided many at a time: hardly anybody looked at each."""
        return sum(each.rows for each in self.in_bulk)

    @cached_property
    def open_by_label(self) -> dict[int, int]:
        """Rows of each current label that no person has decided."""
        stored = self.current.metrics.get("rows") if self.current else None
        if stored is None:
            rows = self.project.samples.filter(label__isnull=False).exclude(source=Source.PERSON).order_by()
            return dict(rows.values_list("label").annotate(Count("pk")))
        counts = Counter({int(label_id): count for label_id, count in stored.items()})
        counts.subtract(
            said.label_id for word in self.words if (said := self.said(self.current, word)).label_id
        )
        for each in self.in_bulk:
            if each.machine_label_id:
                counts[each.machine_label_id] -= each.rows
        return {label_id: max(count, 0) for label_id, count in counts.items()}

    @property
    def open_rows(self) -> int:
        return sum(self.open_by_label.values())

    @cached_property
    def unchecked_by_label(self) -> Counter[int]:
        """Rows of each label of the file that no person has decided alone."""
        counts = Counter(self.open_by_label)
        for each in self.in_bulk:
            counts[each.label_id] += each.rows
        return counts

    @property
    def unchecked_rows(self) -> int:
        return self.unchecked_by_label.total()

    def said(self, iteration: Iteration | None, word: Word) -> Machine:
        if iteration is None:
            return Machine(word.llm_label_id)
        return self._of_round(iteration).get(word.sample_id, Machine(word.llm_label_id))

    def _of_round(self, iteration: Iteration) -> dict[int, Machine]:
        if iteration.pk not in self.machine:
            # By their numbers: a join over all rows that people decided would walk over all of the round.
            rows = among([*self.word_of])
            said = Prediction.objects.filter(
                iteration=iteration, source=Prediction.ModelKind.SLM, sample__in=rows
            )
            self.machine[iteration.pk] = {
                row: Machine(verdict, label, flag)
                for row, verdict, label, flag in said.values_list(
                    "sample_id", "verdict_id", "label_id", "flag"
                )
            }
        return self.machine[iteration.pk]

    def is_wrong(self, iteration: Iteration | None, word: Word) -> bool:
        """Whether the models were wrong."""
        return self.said(iteration, word).label_id != word.truth

    def file_label(self, word: Word) -> int | None:
        """What the file would have had anybody not looked at this row alone."""
        return word.stood.label_id if word.stood else self.said(self.current, word).label_id

    def was_wrong(self, word: Word) -> bool:
        """Whether the file was."""
        return self.file_label(word) != word.truth

    @classmethod
    def read(cls, project: Project) -> Self:
        draws = list(AuditDraw.objects.filter(project=project).order_by("id"))
        history = said_of_drawn_rows(project)
        judged = project.iterations.judged()
        in_bulk = list(_in_bulk(project))
        return cls(
            project,
            project.label_list(),
            list(_words(project, draws, history)),
            draws,
            list(judged.order_by("number")),
            history,
            overruled=list(_overruled(project, draws, history)) if in_bulk else [],
            in_bulk=in_bulk,
        )


@dataclass(frozen=True, slots=True)
class _First:
    """The first word of a person on a row alone, and what had been decided in bulk before."""

    at: datetime
    from_queue: bool
    stood: BulkLabel | None


def _words(project: Project, draws: list[AuditDraw], history: dict[int, list[Said]]) -> Iterator[Word]:
    batch_of = {draw.sample_id: draw.batch for draw in draws}
    alone = project.samples.checked_alone().filter(label__isnull=False).order_by()
    rows = list(alone.values_list("pk", "label_id", "llm_label_id", "corrected_at"))
    blind, firsts = blind_answers(history), _first_words([pk for pk, *_rest in rows])
    for pk, label_id, llm_label_id, at in rows:
        assert at is not None
        answer, first = blind.get(pk), firsts.get(pk, _First(at, False, None))
        said = history.get(pk)
        yield Word(
            pk,
            label_id,
            said[0].at if said else first.at,
            llm_label_id,
            batch_of[pk] if answer else 0,
            answer.label_id if answer else label_id,
            first.from_queue,
            first.stood,
        )


def _first_words(rows: Sequence[int]) -> dict[int, _First]:
    """Of each of these rows, which people decided alone. What a whole bulk correction did and somebody took back is as if it had
    never been, also where rows were passed over because somebody had decided them alone meanwhile."""
    found: dict[int, _First] = {}
    stood: dict[int, BulkLabel] = {}
    said = Correction.objects.filter(sample__in=among(rows), label__isnull=False)
    columns = ("sample_id", "label_id", "created_at", "because", "answer_id", "batch_id", "batch__undone_by")
    more = ("undoes_id", "undone_by")
    for row, label_id, at, because, answer_id, batch, taken_back, *undo in said.order_by("id").values_list(
        *columns, *more
    ):
        # Not asked of the database: it would walk over all corrections that take none back.
        if any(undo):
            continue
        if batch and not taken_back:
            stood[row] = BulkLabel(label_id, at)
        elif not batch and row not in found:
            from_queue = because == Correction.Because.QUEUE and answer_id is not None
            found[row] = _First(at, from_queue, stood.get(row))
    return found


def _overruled(project: Project, draws: list[AuditDraw], history: dict[int, list[Said]]) -> Iterator[Word]:
    """Drawn rows that were answered blind and then decided in bulk: what the file has is known to be right or wrong."""
    batch_of = {draw.sample_id: draw.batch for draw in draws}
    blind = blind_answers(history)
    rows = Sample.objects.filter(audit_draws__project=project, batch__isnull=False, label__isnull=False)
    for pk, label_id, llm_label_id in rows.order_by().values_list("pk", "label_id", "llm_label_id"):
        if answer := blind.get(pk):
            stood = BulkLabel(label_id, answer.at)
            yield Word(pk, label_id, answer.at, llm_label_id, batch_of[pk], answer.label_id, False, stood)


def _in_bulk(project: Project) -> Iterator[InBulk]:
    rows = Sample.objects.filter(batch__project=project, batch__isnull=False, label__isnull=False).order_by()
    by_labels = rows.values_list("batch", "label", "machine_label").annotate(count=Count("*"))
    found = list(by_labels)
    if not found:
        return
    batches, now = CorrectionBatch.objects.filter(project=project).order_by(), timezone.now()
    columns = ("pk", "created_at", "stage", "stage__finished_at")
    until = {
        pk: (finished_at or now) if stage else created_at
        for pk, created_at, stage, finished_at in batches.values_list(*columns)
    }
    for batch, label_id, machine_label_id, count in found:
        yield InBulk(label_id, machine_label_id, count, until[batch])
