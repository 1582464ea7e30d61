"""Rows drawn for the certificate: one after the other, each with a known probability, answered blind like any drawn row.
Once the risk is more than a guess, risky rows are drawn more often.

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
from annotation.pipeline.measure.draw_sample import READ_ROWS, UNKNOWN_RISK, open_draws
from mlcore.plan.draw import EVEN_SHARE, DrawnRows, band_of, draw_by_risk
from mlcore.records import IntArray

STRATUM = "all open rows"
FRAME = [("pk", np.int64), ("risk", np.float64)]


def labels_written(project: Project) -> list[datetime]:
    """When the models' labels were written, in order. Draws between two of these times are of the same labels."""
    # The LLM writes a row's label as long as no small model has judged it: in the first round, answer by answer.
    first_answers = Q(kind=kinds.LLM.key, iteration__number=1, done__gt=0)
    changing = kinds.keys(lambda kind: kind.exclusive_group == kinds.CORPUS)
    rounds = Q(kind__in=changing) & (first_answers | Q(status=Stage.Status.DONE))
    writers = project.stages.filter(rounds | Q(kind=kinds.UPDATE.key, detail__writes_labels=True))
    return sorted(writers.values_list(Coalesce("finished_at", "updated_at"), flat=True))


def evidence_began(project: Project) -> datetime | None:
    """When the models' labels were last written; None before any were."""
    return max(labels_written(project), default=None)


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


def draw_for_certificate(
    project: Project, *, rows: int, user: User | None, seed: int, evenly: bool = False
) -> int:
    """Draw more rows from all that nobody has decided alone and that were not drawn yet, risky ones more often.

    Rows that wait for an answer stay in the sample, since the rows that people pass over are not any rows. Those of an
    earlier version of the labels go back.

    Args:
        seed: of the draw; nobody may know it before, or rows could be decided with the sample in mind.
        evenly: draw all rows with the same chance, as long as their risk is a guess.

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
        frame = _read_frame(project, {*before.values_list("sample", flat=True), *touched_rows(project)})
        if not len(frame):
            raise NotReadyError("There is nothing left to draw: people have decided every row.")
        even = evenly or not np.isfinite(frame["risk"]).any()
        risk = np.nan_to_num(frame["risk"], nan=UNKNOWN_RISK)
        drawn = draw_by_risk(risk, rows, np.random.default_rng(seed), even=1.0 if even else EVEN_SHARE)
        band = np.zeros(len(risk), int) if even else band_of(risk)
        chosen = frame["pk"][drawn.rows].tolist()
        AuditDraw.objects.filter(sample__in=chosen).delete()  # of earlier labels, decided in bulk since
        answered = AuditDraw.objects.filter(project=project)
        latest = project.latest_iteration()
        draws = _as_draws(frame["pk"], band, drawn, even=even)
        number = (answered.aggregate(last=Max("draw_number"))["last"] or 0) + 1
        for draw in draws:
            draw.project, draw.drawn_by, draw.drawn_at = project, user, drawn_at
            draw.draw_number = number
            draw.round, draw.frame_rows, draw.covers_bulk = latest.number if latest else 0, len(frame), True
        AuditDraw.objects.bulk_create(draws, batch_size=500)
        # Whoever holds a drawn row would be shown it with the models' labels: it goes back, to be answered blind.
        held = RowClaim.objects.filter(project=project, because=Correction.Because.QUEUE)
        held.filter(sample__audit_draws__project=project).delete()
    return len(chosen)


def _as_draws(pks: IntArray, band: IntArray, drawn: DrawnRows, *, even: bool) -> list[AuditDraw]:
    """The drawn rows, each band a stratum, in which all rows have the same chance."""
    sizes, counts = np.bincount(band), np.bincount(band[drawn.rows], minlength=band.max() + 1)
    return [
        AuditDraw(
            sample_id=int(pks[row]),
            chance=float(drawn.chance[turn]),
            least=None if even else float(drawn.least[turn]),
            expected=None if even else float(drawn.expected[turn]),
            spread=None if even else float(drawn.spread[turn]),
            stratum=STRATUM if even else f"risk band {band[row] + 1} of {len(sizes)}",
            stratum_rows=int(sizes[band[row]]),
            stratum_drawn=int(counts[band[row]]),
        )
        for turn, row in enumerate(drawn.rows.tolist())
    ]


def _read_frame(project: Project, out: set[int]) -> np.ndarray:
    """The rows that can be drawn, as an array of ``FRAME``; a risk that is not known is NaN."""
    undecided = project.samples.filter(~Q(source=Source.PERSON) | Q(batch__isnull=False))
    rows = undecided.order_by("pk").values_list("pk", "risk").iterator(chunk_size=READ_ROWS)
    return np.fromiter(
        ((pk, np.nan if risk is None else risk) for pk, risk in rows if pk not in out), dtype=FRAME
    )
