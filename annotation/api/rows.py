"""Rows with their evidence, and corrections of one or of many."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.shortcuts import get_object_or_404
from ninja import Query, Router, Schema, Status
from pydantic import Field

from annotation.api.access import Id
from annotation.api.bodies import body_of, checked, posted
from annotation.forms.review import CorrectionForm
from annotation.models import Correction, CorrectionBatch, Label, Project, Role, Sample
from annotation.pipeline.measure.draw_sample import open_draws
from annotation.pipeline.review import bulk as bulk_correcting
from annotation.pipeline.review import corrections
from annotation.table.form import TableForm
from annotation.views.access import MemberRequest, project_of_member
from annotation.views.review.bulk import BulkForm, correct_batch, newest_batches, undo_correction_batch
from annotation.views.review.focus_rows import FocusRow, focus_rows

router = Router(tags=["rows"])

MOST_ROWS = 500  # of one page; a row's text may have 262,144 characters

TableQuery = body_of(
    TableForm,
    "TableQuery",
    without=("row", "before", "far", "round"),
    external_id=(str | None, Field(None, max_length=200, description="Your own id of a row.")),
    limit=(int, Field(100, ge=1, le=MOST_ROWS)),
)
CorrectionBody = body_of(CorrectionForm, "CorrectionBody")
BulkBody = body_of(BulkForm, "BulkBody")


class RowOut(Schema):
    """A row as it stands. ``number`` is its place in the file, from 1. ``version`` counts its corrections. A row that was drawn to
    measure the file is ``blind``: until somebody has answered it, what the models say of it is not told."""

    id: int
    number: int
    external_id: str
    text: str
    fields: dict[str, str]
    version: int
    blind: bool
    label: str | None = None
    source: str = ""
    llm_label: str | None = None
    llm_confidence: float | None = None
    slm_label: str | None = None
    confidence: float | None = None
    clean_prob: float | None = None
    risk: float | None = None
    flag: str = ""
    queue_rank: int | None = None
    prompt_like: bool = False
    corrected_by: str | None = None
    corrected_at: datetime | None = None
    round: int | None = None


class Rows(Schema):
    """``searched``: how many rows were looked at, where that did not fill the page; the search goes on at ``next``."""

    items: list[RowOut]
    next: str | None
    searched: int | None


EVIDENCE = ("llm_confidence", "confidence", "clean_prob", "risk", "flag", "queue_rank", "prompt_like")
LABELS = ("label", "llm_label", "slm_label")
STATE = ("source", "corrected_at", "round")


def shown_row(project: Project, sample: Sample, *, blind: bool) -> dict[str, Any]:
    """The row as JSON. The reference label is for measuring, and is not among it."""
    wanted = [name for name in project.columns if name != project.reference_column]
    cells = dict(zip(project.columns, sample.fields, strict=False))
    own = ("id", "number", "external_id", "text", "version")
    row = {name: getattr(sample, name) for name in own} | {"blind": blind}
    row["fields"] = {name: cells.get(name, "") for name in (project.content_columns if blind else wanted)}
    if blind:
        return row
    labels = {name: label and label.name for name in LABELS if (label := getattr(sample, name)) or True}
    who = sample.corrected_by and sample.corrected_by.get_username()
    return row | labels | {name: getattr(sample, name) for name in EVIDENCE + STATE} | {"corrected_by": who}


def shown_rows(project: Project, samples: Iterable[Sample]) -> list[dict[str, Any]]:
    rows = list(samples)
    ids = [row.pk for row in rows]
    drawn = set(open_draws(project).filter(sample__in=ids).values_list("sample_id", flat=True))
    return [shown_row(project, row, blind=row.pk in drawn) for row in rows]


@router.get("/projects/{project_id}/rows", response=Rows)
def list_rows(request: MemberRequest, project_id: Id, query: Query[TableQuery]) -> Any:  # type: ignore[valid-type]
    """Rows, filtered and sorted as the review table. Labels and people are given by name."""
    project = project_of_member(request, project_id, role=Role.VIEWER)
    values = query.model_dump(exclude_unset=True)  # type: ignore[attr-defined]
    limit, external_id = query.limit, values.pop("external_id", None)  # type: ignore[attr-defined]
    rows = Sample.objects.select_related("label", "llm_label", "slm_label", "corrected_by")
    if external_id:
        named = rows.filter(project=project, external_id=external_id).order_by("position")
        return {"items": shown_rows(project, named[:limit]), "next": None, "searched": None}
    values.pop("limit", None)
    form = checked(TableForm(posted(values, far=1), project=project, default_sort="position"))
    page = form.page(rows, size=limit)
    cursor = str(page.next) if page.next else None
    return {"items": shown_rows(project, page.rows), "next": cursor, "searched": page.searched}


class LabelShare(Schema):
    label: str
    probability: float


class Said(Schema):
    model: str
    label: str | None
    shares: list[LabelShare]
    raw: str
    second_raw: str | None
    error: str


class EventOut(Schema):
    who: str
    label: str | None
    round: int
    when: datetime | None
    note: str


class SimilarOut(Schema):
    row: int
    text: str
    label: str | None
    similarity: float


class RowEvidence(RowOut):
    """A row with all that is known of it: what each model said last, why it is worth a look, rows like it, and its history."""

    said: list[Said]
    reasons: list[str]
    similar: list[SimilarOut]
    history: list[EventOut]


def name_of(label: Label | None) -> str | None:
    return label.name if label else None


def evidence_of(project: Project, row: FocusRow) -> dict[str, Any]:
    return shown_row(project, row.sample, blind=row.is_blind) | {
        "reasons": row.reasons,
        "said": [
            {
                "model": each.title,
                "label": name_of(each.label),
                "shares": [{"label": label.name, "probability": share} for label, share in each.shares],
                "raw": each.raw,
                "second_raw": each.second_raw,
                "error": each.error,
            }
            for each in row.said
        ],
        "similar": [
            {
                "row": each.sample.pk,
                "text": each.sample.text,
                "label": name_of(each.sample.label),
                "similarity": each.similarity,
            }
            for each in row.similar
        ],
        "history": [
            {"who": e.who, "label": name_of(e.label), "round": e.round, "when": e.when, "note": e.note}
            for e in row.history
        ],
    }


def _evidence(project: Project, sample: Sample) -> dict[str, Any]:
    is_drawn = open_draws(project).filter(sample=sample).exists()
    because = Correction.Because.AUDIT if is_drawn else Correction.Because.BROWSING
    return evidence_of(project, focus_rows(project, [(sample.pk, because)])[0])


@router.get("/projects/{project_id}/rows/{row_id}", response=RowEvidence)
def read_row(request: MemberRequest, project_id: Id, row_id: Id) -> Any:
    project = project_of_member(request, project_id, role=Role.VIEWER)
    return _evidence(project, get_object_or_404(Sample, pk=row_id, project=project))


@router.post("/projects/{project_id}/rows/{row_id}/correction", response=RowEvidence)
def correct_row(request: MemberRequest, project_id: Id, row_id: Id, body: CorrectionBody) -> Any:  # type: ignore[valid-type]
    """Set a row's label in the user's name; without a label, the row goes back to what the models say. With ``version``, a row that
    somebody changed since is refused."""
    project = project_of_member(request, project_id, role=Role.REVIEWER)
    get_object_or_404(Sample, pk=row_id, project=project)
    wanted = checked(CorrectionForm(posted(body), project=project)).cleaned_data
    sample = corrections.correct_sample(
        row_id,
        label_id=wanted["label"].pk if wanted["label"] else None,
        user=request.user,
        seen_version=wanted["version"],
        because=wanted["because"] or Correction.Because.BROWSING,
    )
    return _evidence(project, sample)


# --- Many rows ----------------------------------------------------------------------------------------------------


class ReachOut(Schema):
    """``rows`` would change; ``left_alone`` were decided by people, and would not."""

    rows: int
    left_alone: int


class BatchOut(Schema):
    """``stage``: the job that makes the corrections where they are many."""

    id: int
    user: str | None
    label: str | None
    rows: int
    stage: int | None
    undone_by: int | None
    created_at: datetime


def _shown_batch(batch: CorrectionBatch, rows: int, undo: CorrectionBatch | None) -> dict[str, Any]:
    return {
        "id": batch.pk,
        "user": batch.user and batch.user.get_username(),
        "label": name_of(batch.label),
        "rows": rows,
        "stage": batch.stage_id,
        "undone_by": undo and undo.pk,
        "created_at": batch.created_at,
    }


@router.post("/projects/{project_id}/bulk-corrections/reach", response=ReachOut)
def measure_bulk_correction(request: MemberRequest, project_id: Id, body: BulkBody) -> Any:  # type: ignore[valid-type]
    """How many rows a correction in bulk would change. Changes nothing."""
    project = project_of_member(request, project_id, role=Role.REVIEWER)
    form = checked(BulkForm(posted(body), project=project))
    return bulk_correcting.measure_reach(project, form.choice)


@router.post("/projects/{project_id}/bulk-corrections", response={201: BatchOut})
def correct_rows(request: MemberRequest, project_id: Id, body: BulkBody) -> Any:  # type: ignore[valid-type]
    """Relabel many rows, or accept their labels: those of ``row`` (at most 1,000), or all that match ``query``, a filter as in the
    review table's address."""
    project = project_of_member(request, project_id, role=Role.REVIEWER)
    form = checked(BulkForm(posted(body), project=project))
    batch = correct_batch(project, form.choice, user=request.user)
    return Status(201, _shown_batch(batch, batch.rows, None))


@router.get("/projects/{project_id}/bulk-corrections", response=list[BatchOut])
def list_bulk_corrections(request: MemberRequest, project_id: Id) -> Any:
    """The newest corrections in bulk."""
    project = project_of_member(request, project_id, role=Role.VIEWER)
    return [_shown_batch(each.batch, each.rows, each.undo) for each in newest_batches(project)]


@router.post("/projects/{project_id}/bulk-corrections/{batch_id}/undo", response={201: BatchOut})
def undo_bulk_correction(request: MemberRequest, project_id: Id, batch_id: Id) -> Any:
    project = project_of_member(request, project_id, role=Role.REVIEWER)
    batch = get_object_or_404(CorrectionBatch, pk=batch_id, project=project, undoes=None)
    undo = undo_correction_batch(batch, user=request.user, role=request.role)
    return Status(201, _shown_batch(undo, undo.rows, None))
