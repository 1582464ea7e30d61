"""The rows that people decided, the draws that they answer, and what every round's models say of them.

Only read here; :mod:`annotation.pipeline.measure` has the figures. A person's word is taken as the truth. The machines'
label of a row that a person decided is what the round's models would say had nobody looked (their opinions are out of
fold), so rounds can be compared on the very same rows.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Self

from django.db.models import Count, Min, Q

from annotation.models import AuditDraw, Correction, Iteration, Label, Prediction, Project, Source
from annotation.pipeline.blind import Said, blind_answers, said_of_drawn_rows


@dataclass(frozen=True, slots=True)
class Word:
    """A row that a person decided.

    ``batch`` is the draw that it answers; 0 if it was not drawn, or decided before somebody answered it blind.
    ``truth`` is the blind answer, also after somebody corrected it; without one, the row's label.
    ``from_queue``: the review queue showed it, which never shows rows that are drawn.
    """

    sample_id: int
    label_id: int
    first_at: datetime
    llm_label_id: int | None
    batch: int
    truth: int
    from_queue: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """What a round's models would say of a row by themselves."""

    label_id: int | None
    slm_label_id: int | None = None
    flag: str = ""


@dataclass
class CheckedRows:
    """All that is read for one look at a project: a constant number of queries over the rows that people decided, never
    over all rows."""

    project: Project
    labels: list[Label]
    words: list[Word]
    draws: list[AuditDraw]
    rounds: list[Iteration]  # judged by a small model, oldest first
    history: dict[int, list[Said]] = field(default_factory=dict)  # drawn row -> what people said of it
    machine: dict[int, dict[int, Machine]] = field(default_factory=dict)  # round -> row -> what it said

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
        return [word for word in self.words if word.batch]

    @cached_property
    def word_of(self) -> dict[int, Word]:
        return {word.sample_id: word for word in self.words}

    @property
    def pending(self) -> int:
        return sum(draw.sample_id not in self.word_of for draw in self.draws)

    @cached_property
    def decided_in_bulk(self) -> int:
        """Rows that people decided many at a time: taken as right, though hardly anybody looked at each."""
        standing = Q(batch__project=self.project, batch__undoes__isnull=True, batch__undone_by__isnull=True)
        return Correction.objects.filter(standing).order_by().count()

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
        return {label_id: max(count, 0) for label_id, count in counts.items()}

    @property
    def open_rows(self) -> int:
        return sum(self.open_by_label.values())

    def said(self, iteration: Iteration | None, word: Word) -> Machine:
        if iteration is None:
            return Machine(word.llm_label_id)
        return self._of_round(iteration).get(word.sample_id, Machine(word.llm_label_id))

    def _of_round(self, iteration: Iteration) -> dict[int, Machine]:
        if iteration.pk not in self.machine:
            # Row by row of those that people decided: a join would walk over all of the round.
            decided = self.project.samples.filter(source=Source.PERSON).order_by().values("pk")
            found = Prediction.objects.filter(
                iteration=iteration, source=Prediction.ModelKind.SLM, sample__in=decided
            ).values_list("sample_id", "verdict_id", "label_id", "flag")
            self.machine[iteration.pk] = {
                row: Machine(verdict, label, flag) for row, verdict, label, flag in found.iterator()
            }
        return self.machine[iteration.pk]

    def is_wrong(self, iteration: Iteration | None, word: Word) -> bool:
        return self.said(iteration, word).label_id != word.truth

    @classmethod
    def read(cls, project: Project) -> Self:
        draws = list(AuditDraw.objects.filter(project=project).order_by("id"))
        batch_of = {draw.sample_id: draw.batch for draw in draws}
        history = said_of_drawn_rows(project)
        blind = blind_answers(history)
        standing = Q(corrections__label__isnull=False, corrections__undoes__isnull=True)
        standing &= Q(corrections__undone_by__isnull=True)
        queued = Q(corrections__because=Correction.Because.QUEUE, corrections__answer_id__isnull=False)
        decided = project.samples.filter(source=Source.PERSON, label__isnull=False).order_by()
        words = []
        for pk, label_id, llm_label_id, first_at, queued_at in decided.annotate(
            first=Min("corrections__created_at", filter=standing),
            queued=Min("corrections__created_at", filter=standing & queued),
        ).values_list("pk", "label_id", "llm_label_id", "first", "queued"):
            answer = blind.get(pk)
            said = history.get(pk)
            at = said[0].at if said else first_at
            batch = batch_of[pk] if answer else 0
            truth = answer.label_id if answer else label_id
            words.append(Word(pk, label_id, at, llm_label_id, batch, truth, queued_at == first_at))
        judged = project.iterations.judged()
        return cls(project, project.label_list(), words, draws, list(judged.order_by("number")), history)
