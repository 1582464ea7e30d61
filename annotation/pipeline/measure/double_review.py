"""How often two people agree on rows that the second answered blind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from django.db.models import OuterRef, Subquery

from annotation.models import Correction, Project
from mlcore.measure.agreement import cohen_kappa


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often two people chose the same label of a row that the second answered blind."""

    rows: int
    agreed: int
    kappa: float | None  # Cohen's: 0 is what chance would give; None where it is not defined

    @property
    def share(self) -> float | None:
        return self.agreed / self.rows if self.rows else None


def double_review(project: Project) -> Agreement:
    """The agreement over all rows that a second person has answered; the first answers are taken as one rater's."""
    compared = compared_answers(project)
    places = {
        label_id: place
        for place, label_id in enumerate(sorted({each for pair in compared for each in pair[2:]}))
    }
    first = np.array([places[pair[2]] for pair in compared], dtype=np.int64)
    second = np.array([places[pair[3]] for pair in compared], dtype=np.int64)
    kappa = cohen_kappa(first, second, len(places)) if compared else None
    return Agreement(len(compared), int((first == second).sum()), kappa)


def compared_answers(project: Project) -> list[tuple[int | None, int | None, int, int]]:
    """Of each row answered twice: who answered first, who second, and the ids of their labels."""
    first = (
        Correction.objects.filter(sample=OuterRef("sample"), pk__lt=OuterRef("pk"), label__isnull=False)
        .filter(undoes__isnull=True)
        .exclude(user=OuterRef("user"))
        .order_by("-pk")
    )
    second = Correction.objects.standing().filter(sample__project=project, because=Correction.Because.SECOND)
    pairs = second.annotate(
        first_user=Subquery(first.values("user")[:1]), first_label=Subquery(first.values("label")[:1])
    ).values_list("first_user", "user", "first_label", "label")
    return [(one, two, label, other) for one, two, label, other in pairs if label is not None]
