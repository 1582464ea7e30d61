"""The review queue: rows that a person is to look at, their answers, and the random rows that measure the file."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.shortcuts import get_object_or_404
from ninja import Router, Schema, Status
from pydantic import Field

from annotation.api.access import Id
from annotation.api.bodies import body_of, checked, posted
from annotation.api.rows import RowEvidence, evidence_of
from annotation.forms.review import AnswerForm, AuditForm, MarkForm, UndoForm
from annotation.models import Role, Sample
from annotation.pipeline.measure import draw_sample
from annotation.pipeline.review import marks, queue, throughput
from annotation.views.access import MemberRequest, project_of_member
from annotation.views.measure.accuracy import draw_rows
from annotation.views.review.answers import leave_row_unclear, save_answer, undo_last_answer
from annotation.views.review.focus_rows import focus_rows

router = Router(tags=["review"])

AnswerBody = body_of(AnswerForm, "AnswerBody", without=("sample",))
MarkBody = body_of(MarkForm, "MarkBody")
UndoBody = body_of(UndoForm, "UndoBody")
AuditBody = body_of(AuditForm, "AuditBody")


class QueuedRow(RowEvidence):
    """``because``: why the row is shown; ``answer_id``: to be sent with the answer, so that it counts once."""

    because: str
    answer_id: UUID


class Queue(Schema):
    """``left``: flagged rows that nobody has decided. ``random_left``: drawn rows that wait for this person's answer."""

    items: list[QueuedRow]
    left: int
    random_left: int


class QueueQuery(Schema):
    count: int = Field(queue.HELD_ROWS, ge=1, le=queue.MOST_HELD)
    only_random: bool = False


@router.post("/projects/{project_id}/queue", response=Queue)
def take_rows(request: MemberRequest, project_id: Id, body: QueueQuery) -> Any:
    """Take the rows that the user is to look at next. They are held for ten minutes, so that nobody else gets them. Blind rows say
    nothing of the models."""
    project = project_of_member(request, project_id, role=Role.REVIEWER)
    claims = queue.take_rows(project, user=request.user, count=body.count, only_random=body.only_random)
    rows = focus_rows(project, [(claim.sample_id, claim.because) for claim in claims])
    return {
        "items": [
            evidence_of(project, row) | {"because": row.because, "answer_id": row.answer_id} for row in rows
        ],
        "left": throughput.rows_left(project),
        "random_left": draw_sample.pending_draws(project, request.user).count(),
    }


class AnswerOut(Schema):
    """``note``: what to know, such as that a second answer differs from the first."""

    version: int
    note: str


@router.post("/projects/{project_id}/rows/{row_id}/answer", response=AnswerOut)
def answer_row(request: MemberRequest, project_id: Id, row_id: Id, body: AnswerBody) -> Any:  # type: ignore[valid-type]
    """Answer a row of the queue. Sent again under the same id it does nothing."""
    project = project_of_member(request, project_id, role=Role.REVIEWER)
    sample = get_object_or_404(Sample, pk=row_id, project=project)
    form = checked(AnswerForm(posted(body, sample=row_id), project=project))
    sample, note = save_answer(sample, form.cleaned_data, user=request.user)
    return {"version": sample.version, "note": note}


@router.post("/projects/{project_id}/rows/{row_id}/skip", response={204: None})
def skip_row(request: MemberRequest, project_id: Id, row_id: Id) -> Any:
    """Pass a row over: it comes to this user again when nothing else is left."""
    project = project_of_member(request, project_id, role=Role.REVIEWER)
    queue.skip_row(get_object_or_404(Sample, pk=row_id, project=project), user=request.user)
    return Status(204, None)


@router.post("/projects/{project_id}/rows/{row_id}/unclear", response={204: None})
def leave_unclear(request: MemberRequest, project_id: Id, row_id: Id) -> Any:
    """Say that no label fits the row, or that it is unclear; a row that measures the file stays open for others."""
    project = project_of_member(request, project_id, role=Role.REVIEWER)
    leave_row_unclear(get_object_or_404(Sample, pk=row_id, project=project), user=request.user)
    return Status(204, None)


class MarkOut(Schema):
    unclear: bool = False
    for_colleague: bool = False
    note: str = ""


@router.put("/projects/{project_id}/rows/{row_id}/mark", response=MarkOut)
def mark_row(request: MemberRequest, project_id: Id, row_id: Id, body: MarkBody) -> Any:  # type: ignore[valid-type]
    """What is noted of a row beside its label; all of it is replaced."""
    project = project_of_member(request, project_id, role=Role.REVIEWER)
    sample = get_object_or_404(Sample, pk=row_id, project=project)
    mark = marks.mark_row(sample, user=request.user, **checked(MarkForm(posted(body))).cleaned_data)
    return mark or MarkOut()


class Undone(Schema):
    row: int
    version: int


@router.post("/projects/{project_id}/queue/undo", response=Undone)
def undo_answer(request: MemberRequest, project_id: Id, body: UndoBody) -> Any:  # type: ignore[valid-type]
    """Take back the user's newest answer, or the one ``of``. ``undo_id`` is a new UUID, so that it counts once."""
    project = project_of_member(request, project_id, role=Role.REVIEWER)
    sample, _because = undo_last_answer(
        project, checked(UndoForm(posted(body))).cleaned_data, user=request.user
    )
    return {"row": sample.pk, "version": sample.version}


class Drawn(Schema):
    rows: int


@router.post("/projects/{project_id}/audit-draws", response={201: Drawn})
def draw_audit(request: MemberRequest, project_id: Id, body: AuditBody) -> Any:  # type: ignore[valid-type]
    """Draw random rows that measure the file once people have answered them blind."""
    project = project_of_member(request, project_id, role=Role.REVIEWER)
    form = checked(AuditForm(posted(body)))
    return Status(201, {"rows": draw_rows(project, form.cleaned_data["rows"], user=request.user)})
