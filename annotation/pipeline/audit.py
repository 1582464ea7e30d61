"""The audit: rows drawn at random, answered blind, from which the file's accuracy is measured."""

from __future__ import annotations

import numpy as np
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from annotation.errors import AnnotationError, NotReadyError
from annotation.models import AuditDraw, Correction, Flag, Project, RowClaim, Sample, Source
from mlcore.sampling import allocate, draw_rows, make_strata

MOST_ROWS = 5_000
UNKNOWN_RISK = 0.25  # the same for all rows: sizes are then shared in proportion


def draw_sample(project: Project, *, rows: int, user: User | None) -> int:
    """Draw a stratified random sample of the rows that have a label and that no person has decided.

    Rows drawn earlier and not answered yet go back: the new draw replaces them, so that every batch is a random sample
    of what was open at its time. Reads flag and risk of every open row once.

    Args:
        rows: how many rows are to be answered, 1 to ``MOST_ROWS``.

    Returns:
        The number of rows drawn; fewer than asked where fewer are open.

    Raises:
        AnnotationError: the number is out of range.
        NotReadyError: no labelled row is open.
    """
    if not 1 <= rows <= MOST_ROWS:
        raise AnnotationError(
            _("An audit draws 1 to %(most)s rows, not %(rows)s.") % {"most": MOST_ROWS, "rows": rows}
        )
    with transaction.atomic():
        Project.objects.select_for_update().get(pk=project.pk)  # one draw at a time
        _open_draws(project).delete()
        found = list(_open_rows(project).values_list("pk", "flag", "risk", "llm_confidence"))
        if not found:
            raise NotReadyError(
                _("There is nothing to measure: no row has a label that a model gave. Run the models first.")
            )
        batch = (
            AuditDraw.objects.filter(project=project)
            .order_by("-batch")
            .values_list("batch", flat=True)
            .first()
            or 0
        ) + 1
        drawn = _choose(project, found, rows=rows, batch=batch, user=user)
        AuditDraw.objects.bulk_create(drawn, batch_size=500)
        # Whoever holds a drawn row would be shown it with the models' labels: it goes back, to be answered blind.
        held = RowClaim.objects.filter(project=project, because=Correction.Because.QUEUE)
        held.filter(sample__audit_draws__project=project).delete()
    return len(drawn)


def pending_draws(project: Project, user: User) -> QuerySet[Sample]:
    """Drawn rows that wait for a blind answer by this person, in the order in which they are to be looked at.

    A row that a person has decided in another way is not asked for again; it counts as not answered. Who has already
    given a word on a row (and withdrew it) has seen what the models say, and can't answer it blind.
    """
    seen = Correction.objects.filter(user=user, sample__audit_draws__project=project).values("sample")
    waiting = Sample.objects.filter(audit_draws__in=_open_draws(project)).exclude(pk__in=seen)
    return waiting.order_by("audit_draws__id")


def _open_draws(project: Project) -> QuerySet[AuditDraw]:
    return AuditDraw.objects.filter(project=project).exclude(sample__source=Source.PERSON)


def _open_rows(project: Project) -> QuerySet[Sample]:
    return project.samples.filter(label__isnull=False).exclude(source=Source.PERSON).order_by("position")


def _choose(
    project: Project,
    found: list[tuple[int, str, float | None, float | None]],
    *,
    rows: int,
    batch: int,
    user: User | None,
) -> list[AuditDraw]:
    differ = np.array([flag == Flag.INCONSISTENT for _pk, flag, _risk, _sure in found])
    risk, known = _risks(found)
    strata = make_strata(differ, risk, draws=rows)
    sizes = strata.sizes
    means = np.bincount(strata.member, weights=risk, minlength=len(sizes)) / np.maximum(sizes, 1)
    taken = allocate(sizes, means if known else np.full(len(sizes), UNKNOWN_RISK), rows)
    latest, now = project.latest_iteration(), timezone.now()
    chosen = draw_rows(strata, taken, np.random.default_rng())
    return [
        AuditDraw(
            project=project,
            sample_id=found[row][0],
            batch=batch,
            round=latest.number if latest else 0,
            stratum=strata.names[strata.member[row]],
            stratum_rows=int(sizes[strata.member[row]]),
            frame_rows=len(found),
            stratum_drawn=int(taken[strata.member[row]]),
            drawn_by=user,
            drawn_at=now,
        )
        for row in chosen
    ]


def _risks(found: list[tuple[int, str, float | None, float | None]]) -> tuple[np.ndarray, bool]:
    """Each row's risk, and whether it is one: before the small model has judged, the LLM's doubt orders the rows, but
    says nothing of how often it is wrong."""
    known = any(risk is not None for _pk, _flag, risk, _sure in found)
    if known:
        return np.array([0.5 if risk is None else risk for _pk, _flag, risk, _sure in found]), True
    return np.array([0.5 if sure is None else 1.0 - sure for _pk, _flag, _risk, sure in found]), False
