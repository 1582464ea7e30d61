"""The audit: rows drawn at random, answered blind, from which the file's accuracy is measured."""

from __future__ import annotations

from collections import Counter

import numpy as np
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, Max, OuterRef, Q, QuerySet
from django.utils import timezone

from annotation.errors import AnnotationError, NotReadyError
from annotation.models import AuditDraw, Correction, Project, RowClaim, Sample, Source
from annotation.pipeline.measure.checked_rows import CheckedRows
from mlcore.measure.sampling import IN_BULK, allocate, draw_rows, make_strata, scarce_labels
from mlcore.records import FloatArray
from mlcore.verdict import constants

MOST_ROWS = 5_000
FIRST_ROWS = constants.FEWEST_KNOWN  # drawn before anything is known of a file: they make the risk known, too
READ_ROWS = 5_000
NAN = float("nan")
FRAME = [
    ("pk", np.int64),
    ("label", np.int64),
    ("differ", np.bool_),
    ("risk", np.float64),
    ("sure", np.float64),
    ("bulk", np.int64),
]
MODEL_LABELS = ("llm_label_id", "slm_label_id")
UNKNOWN_RISK = 0.25  # where it is the same for all rows, sizes are shared in proportion


def draw_sample(project: Project, *, rows: int, user: User | None, seed: int) -> int:
    """Draw a stratified random sample of the rows that have a label and that no person has decided alone.

    Rows drawn earlier and not answered yet go back: the new draw replaces them, so that every draw is a random sample of what
    nobody had checked at its time. Labels that are short of checked rows get a few.

    Args:
        rows: how many rows are to be answered, 1 to ``MOST_ROWS``.
        seed: of the draw; nobody may know it before, or rows could be decided with the sample in mind.

    Returns:
        The number of rows drawn; fewer than asked where fewer are open.

    Raises:
        AnnotationError: the number is out of range.
        NotReadyError: no labelled row is left.
    """
    if not 1 <= rows <= MOST_ROWS:
        raise AnnotationError(
            "A random sample has 1 to %(most)s rows, not %(rows)s.", most=MOST_ROWS, rows=rows
        )
    drawn_at = timezone.now()
    # Nothing is locked meanwhile: a row that somebody decides in this moment is a drawn row that was decided otherwise.
    frame = _read_frame(project)
    if not len(frame):
        raise NotReadyError(
            "There is nothing to measure: no row has a label that a model gave. Run the models first."
        )
    rng = np.random.default_rng(seed)
    chosen = choose_rows(frame, rows=rows, checked=_checked_by_label(project), rng=rng)
    latest = project.latest_iteration()
    with transaction.atomic():
        Project.objects.select_for_update().get(pk=project.pk)  # one draw at a time
        open_draws(project).delete()
        answered = AuditDraw.objects.filter(project=project)
        kept = set(answered.values_list("sample", flat=True))  # some were answered in this moment, maybe
        chosen = [draw for draw in chosen if draw.sample_id not in kept]
        counts = Counter(draw.stratum for draw in chosen)
        draw_number = (answered.aggregate(last=Max("draw_number"))["last"] or 0) + 1
        for draw in chosen:
            draw.project, draw.draw_number, draw.round = project, draw_number, latest.number if latest else 0
            draw.stratum_drawn, draw.drawn_by, draw.drawn_at = counts[draw.stratum], user, drawn_at
            draw.covers_bulk = True
        AuditDraw.objects.bulk_create(chosen, batch_size=500)
        # Whoever holds a drawn row would be shown it with the models' labels: it goes back, to be answered blind.
        held = RowClaim.objects.filter(project=project, because=Correction.Because.QUEUE)
        held.filter(sample__audit_draws__project=project).delete()
    return len(chosen)


def pending_draws(project: Project, user: User) -> QuerySet[Sample]:
    """Drawn rows that wait for a blind answer by this person, in the order in which they are to be looked at.

    A row that a person has decided alone in another way is not asked for again; it counts as not answered.
    """
    # Who has labelled a row before, and took that back, has seen what the models say and can't answer it blind.
    seen = Correction.objects.of_row_by(user)
    waiting = Sample.objects.filter(audit_draws__in=open_draws(project)).filter(~Exists(seen))
    return waiting.order_by("audit_draws__id")


def open_draws(project: Project) -> QuerySet[AuditDraw]:
    """Drawn rows that wait for an answer, decided in bulk or not."""
    answers = Correction.objects.standing().filter(
        sample=OuterRef("sample"), because=Correction.Because.AUDIT
    )
    overruled = Q(sample__batch__isnull=False) & Exists(answers)
    alone = Q(sample__source=Source.PERSON, sample__batch__isnull=True)
    return AuditDraw.objects.filter(project=project).exclude(alone).exclude(overruled)


def _read_frame(project: Project) -> np.ndarray:
    """The unchecked rows, as an array of ``FRAME``; a risk that is not known is NaN."""
    columns = ("pk", "label_id", "risk", "llm_confidence", "batch_id", "machine_label_id", *MODEL_LABELS)
    rows = project.samples.unchecked().order_by().values_list(*columns)
    return np.fromiter(
        (
            (
                pk,
                label,
                None not in (llm, slm) and llm != slm,
                NAN if risk is None or batch else risk,
                NAN if sure is None else sure,
                (1 if label == machine_label else 2) if batch else 0,
            )
            for pk, label, risk, sure, batch, machine_label, llm, slm in rows.iterator(chunk_size=READ_ROWS)
        ),
        dtype=FRAME,
    )


def _checked_by_label(project: Project) -> Counter[int]:
    """How many answered random rows had which label in the file."""
    evidence = CheckedRows.read(project)
    return Counter(evidence.file_label(row) or 0 for row in evidence.answered)


def choose_rows(
    frame: np.ndarray, *, rows: int, checked: Counter[int], rng: np.random.Generator
) -> list[AuditDraw]:
    """Draws with their stratum, in the order in which they are to be answered."""
    labels, counts = np.unique(frame["label"], return_counts=True)
    scarce = scarce_labels(counts, np.array([checked[label] for label in labels.tolist()]), draws=rows)
    risk, known = _risks(frame)
    strata = make_strata(
        frame["differ"],
        risk,
        draws=rows,
        label=frame["label"],
        scarce={int(labels[index]): floor for index, floor in scarce.items()},
        bulk=frame["bulk"],
    )
    sizes = strata.sizes
    means = np.bincount(strata.member, weights=risk, minlength=len(sizes)) / np.maximum(sizes, 1)
    unknown = [not known or name.startswith(IN_BULK) for name in strata.names]
    means = np.where(unknown, UNKNOWN_RISK, means)
    taken = allocate(sizes, means, rows, least=strata.least)
    return [
        AuditDraw(
            sample_id=int(frame["pk"][row]),
            stratum=strata.names[strata.member[row]],
            stratum_rows=int(sizes[strata.member[row]]),
            frame_rows=len(frame),
        )
        for row in draw_rows(strata, taken, rng)
    ]


def _risks(frame: np.ndarray) -> tuple[FloatArray, bool]:
    """Each row's risk, and whether it is one: before the small model has judged, the LLM's doubt orders the rows, but
    says nothing of how often it is wrong."""
    known = bool(np.isfinite(frame["risk"]).any())
    risk = frame["risk"] if known else 1.0 - frame["sure"]
    return np.where(np.isnan(risk), 0.5, risk), known
