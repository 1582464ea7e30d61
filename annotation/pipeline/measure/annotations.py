"""What people said of rows: who, when, how (alone, in bulk, blind), and by which rules it counts.

The one place that reads corrections to measure something. Accuracy, agreement, forecast, calibration and the curve of errors
found group these annotations. Labels that were set in bulk are only counted, by SQL: there may be hundreds of thousands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from annotation.models import AuditDraw, Correction, Project

BLIND = (Correction.Because.AUDIT, Correction.Because.SECOND)
COLUMNS = (
    "pk",
    "sample_id",
    "label_id",
    "user_id",
    "user__username",
    "because",
    "created_at",
    "answer_id",
    "batch_id",
    "replaced_label_id",
    "replaced_source",
)


class Annotation(NamedTuple):
    """A label that a person gave a row."""

    id: int
    sample_id: int
    label_id: int
    user_id: int | None
    user: str | None
    because: str
    at: datetime
    answer_id: UUID | None  # set in the focus view only
    batch_id: int | None  # the bulk correction that it is part of
    replaced_label_id: int | None
    replaced_source: str

    @property
    def in_bulk(self) -> bool:
        return self.batch_id is not None

    @property
    def is_blind(self) -> bool:
        """Whether it was given without sight of anybody's label."""
        return self.because in BLIND

    @property
    def from_queue(self) -> bool:
        """Whether the review queue showed the row."""
        return self.because == Correction.Because.QUEUE and self.answer_id is not None


@dataclass(slots=True)
class RowAnnotations:
    """The annotations of one row, oldest first.

    Attributes:
        standing: all that nobody has taken back.
        alone: labels given to the row alone since it was last given back to the models or decided in bulk.
        bulk: the label that it had got in bulk when the first of these was given.
    """

    standing: list[Annotation] = field(default_factory=list)
    alone: list[Annotation] = field(default_factory=list)
    bulk: Annotation | None = None

    @property
    def first(self) -> Annotation | None:
        return self.alone[0] if self.alone else None

    @property
    def blind_answer(self) -> Annotation | None:
        """The row's answer as a member of the random sample: the first label given to it alone, if that was given blind.

        A row that was decided in another way first is no answer, whatever was said later; a blind answer stays one.
        """
        return self.first if self.first and self.first.because == Correction.Because.AUDIT else None

    @property
    def second_answers(self) -> Iterator[tuple[Annotation, Annotation]]:
        """Each label that a second person gave blind, after the newest one that somebody else had given the row alone."""
        for place, second in enumerate(self.standing):
            if second.because == Correction.Because.SECOND:
                alone = [before for before in self.standing[:place] if not before.in_bulk]
                others = [before for before in alone if before.user_id != second.user_id]
                if others:
                    yield others[-1], second

    def give_back(self) -> None:
        """Somebody returned the row to the models' label."""
        self.alone, self.bulk = [], None

    def add(self, annotation: Annotation) -> None:
        self.standing.append(annotation)
        if not annotation.in_bulk:
            self.alone.append(annotation)
        elif not self.blind_answer:  # a bulk correction over a blind answer leaves that in the sample
            self.alone, self.bulk = [], annotation


def read_annotations(samples: Any) -> dict[int, RowAnnotations]:
    """The standing annotations of rows by the rows' ids, in one query; rows without any are left out.

    A bulk correction that was taken back as a whole is as if it had never been, also on rows that it passed over since
    somebody had decided them alone meanwhile.

    Args:
        samples: the rows' ids, as a subquery or as :func:`annotation.models.sql.among` gives them.
    """
    rows: defaultdict[int, RowAnnotations] = defaultdict(RowAnnotations)
    kept = Correction.objects.not_taken_back().filter(sample__in=samples, batch__undone_by__isnull=True)
    for values in kept.order_by("id").values_list(*COLUMNS):
        sample_id, label_id = values[1:3]
        if label_id is None:
            rows[sample_id].give_back()
        else:
            rows[sample_id].add(Annotation(*values))
    return dict(rows)


def blind_answers(project: Project) -> dict[int, Annotation]:
    """Of the rows drawn to measure the file, those that were answered blind, with the answer."""
    drawn = AuditDraw.objects.filter(project=project).values("sample")
    return {row: answer for row, said in read_annotations(drawn).items() if (answer := said.blind_answer)}
