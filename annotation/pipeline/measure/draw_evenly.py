"""Rows drawn for the certificate: one after the other, each with a known probability, answered blind like any drawn row.

The evidence is of one version of the models' labels. It begins when they were last written; draws from before it tell
nothing of the labels since, but the rows that people answered stay decided.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Max, Min, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from annotation.errors import NotReadyError
from annotation.jobs import kinds
from annotation.models import AuditDraw, Correction, Project, RowClaim, Source, Stage
from annotation.pipeline.measure.draw_sample import open_draws

STRATUM = "all open rows"


def evidence_began(project: Project) -> datetime | None:
    """When the models' labels were last written; None before any were."""
    # The LLM writes a row's label as long as no small model has judged it: in the first round, answer by answer.
    first_answers = Q(kind=kinds.LLM.key, iteration__number=1, done__gt=0)
    changing = kinds.keys(lambda kind: kind.exclusive_group == kinds.CORPUS)
    writers = project.stages.filter(first_answers | Q(status=Stage.Status.DONE), kind__in=changing)
    began: datetime | None = writers.aggregate(at=Max(Coalesce("finished_at", "updated_at")))["at"]
    return began


def drawn_rows(project: Project) -> QuerySet[AuditDraw]:
    """The draws of the evidence as it is now, in their order."""
    draws = AuditDraw.objects.filter(project=project, chance__isnull=False)
    return draws.filter(drawn_at__gte=evidence_began(project) or timezone.now()).order_by("id")


def touched_rows(project: Project) -> dict[int, datetime]:
    """Rows that somebody gave a label alone since the evidence began, taken back or not, and when first. They could not be
    drawn from then on."""
    alone = Correction.objects.filter(sample__project=project, batch__isnull=True, label__isnull=False)
    began = evidence_began(project)
    since = alone.filter(created_at__gte=began) if began else alone
    return dict(since.order_by().values_list("sample").annotate(at=Min("created_at")))


def draw_evenly(project: Project, *, rows: int, user: User | None, seed: int) -> int:
    """Draw more rows, each with the same chance among all rows that nobody has decided alone and that were not drawn yet.

    Rows that wait for an answer stay in the sample, since the rows that people pass over are not any rows. Those of an
    earlier version of the labels go back.

    Args:
        seed: of the draw; nobody may know it before, or rows could be decided with the sample in mind.

    Returns:
        The number of rows drawn; fewer than asked where fewer are open.

    Raises:
        NotReadyError: no row is left.
    """
    drawn_at = timezone.now()
    with transaction.atomic():
        Project.objects.select_for_update().get(pk=project.pk)  # one draw at a time
        before = drawn_rows(project)
        open_draws(project).exclude(pk__in=before.values("pk")).delete()
        undecided = project.samples.filter(~Q(source=Source.PERSON) | Q(batch__isnull=False))
        out = {*before.values_list("sample", flat=True), *touched_rows(project)}
        ids = undecided.order_by("pk").values_list("pk", flat=True)
        frame = np.fromiter((pk for pk in ids.iterator() if pk not in out), np.int64)
        if not len(frame):
            raise NotReadyError("There is nothing left to draw: people have decided every row.")
        chosen = np.random.default_rng(seed).permutation(frame)[:rows].tolist()
        AuditDraw.objects.filter(sample__in=chosen).delete()  # of earlier labels, decided in bulk since
        answered = AuditDraw.objects.filter(project=project)
        latest = project.latest_iteration()
        shared = {
            "project": project,
            "draw_number": (answered.aggregate(last=Max("draw_number"))["last"] or 0) + 1,
            "round": latest.number if latest else 0,
            "stratum": STRATUM,
            "stratum_rows": len(frame),
            "stratum_drawn": len(chosen),
            "frame_rows": len(frame),
            "covers_bulk": True,
            "drawn_by": user,
            "drawn_at": drawn_at,
        }
        AuditDraw.objects.bulk_create(
            (
                AuditDraw(sample_id=pk, chance=1.0 / (len(frame) - turn), **shared)
                for turn, pk in enumerate(chosen)
            ),
            batch_size=500,
        )
        # Whoever holds a drawn row would be shown it with the models' labels: it goes back, to be answered blind.
        held = RowClaim.objects.filter(project=project, because=Correction.Because.QUEUE)
        held.filter(sample__audit_draws__project=project).delete()
    return len(chosen)
