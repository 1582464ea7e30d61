"""Rows come in: files, or rows as JSON; then what their columns mean, and the import."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from django.core.files.base import ContentFile
from django.shortcuts import get_object_or_404
from ninja import File, Router, Schema, Status, UploadedFile
from pydantic import Field, JsonValue

from annotation.api.access import Id
from annotation.api.bodies import body_of, checked, posted
from annotation.api.rows import router as rows_router
from annotation.api.steps import StageOut, shown_stage
from annotation.forms.column_roles import MappingForm
from annotation.forms.given_labels import GivenLabelsForm
from annotation.forms.upload import ReadingForm
from annotation.models import Activity, Role, Upload
from annotation.pipeline.ingest import start_import
from annotation.pipeline.ingest.column_roles import guess_roles
from annotation.pipeline.ingest.import_report import left_out_rows, stored_summary
from annotation.pipeline.ingest.preview import Preview
from annotation.pipeline.ingest.upload import delete_upload, read_preview, store_upload, waiting_uploads
from annotation.pipeline.project import activity
from annotation.views.access import MemberRequest, project_of_member
from annotation.views.ingest.given_labels import take_columns, take_edited

router = Router(tags=["data"])

MOST_JSON_ROWS = 10_000
PREVIEW_ROWS = 8


class ReadingBody(Schema):
    """How the file is to be read, where the guess is wrong; which of these a file has depends on its format."""

    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    sheet: str | None = None
    header: int | None = Field(None, description="The row of the column names, from 1; 0 for none.")
    replace_bad: bool | None = None
    fill_merged: bool | None = None


ImportBody = body_of(
    MappingForm,
    "ImportBody",
    partial=True,
    without=("then",),
    column_kinds=(
        dict[str, str] | None,
        Field(None, description="Of a table's columns: number, category or text."),
    ),
)


GivenBody = body_of(GivenLabelsForm, "GivenBody")


class UploadOut(Schema):
    """A file. ``roles``: what its columns are taken for if an import says nothing else. ``report``: what an import made of it."""

    id: int
    name: str
    size: int
    waiting: bool
    columns: list[str]
    created_at: datetime
    report: dict[str, Any]
    summary: str


class UploadPreview(UploadOut):
    rows: list[list[str]]
    warnings: list[str]
    reading: dict[str, Any]
    roles: dict[str, Any]


class JsonRows(Schema):
    """Rows as objects: the members are the columns."""

    rows: list[dict[str, JsonValue]] = Field(min_length=1, max_length=MOST_JSON_ROWS)
    name: str = Field("rows.jsonl", max_length=200)


def _shown(upload: Upload, *, waiting: bool) -> dict[str, Any]:
    names = ("name", "size", "columns", "created_at", "report")
    own = {name: getattr(upload, name) for name in names} | {"id": upload.pk}
    return own | {"waiting": waiting, "summary": stored_summary(upload.report) if upload.report else ""}


def _previewed(upload: Upload, preview: Preview) -> dict[str, Any]:
    return _shown(upload, waiting=upload in waiting_uploads(upload.project)) | {
        "rows": preview.rows[:PREVIEW_ROWS],
        "warnings": preview.warnings,
        "reading": upload.reading,
        "roles": guess_roles(upload.project, preview.columns),
    }


def _upload(request: MemberRequest, project_id: int, upload_id: int, *, role: Role = Role.OWNER) -> Upload:
    project = project_of_member(request, project_id, role=role)
    return get_object_or_404(project.uploads.select_related("project"), pk=upload_id)


@router.get("/projects/{project_id}/uploads", response=list[UploadOut])
def list_uploads(request: MemberRequest, project_id: Id) -> Any:
    """The newest 200 files that were uploaded, imported or not."""
    project = project_of_member(request, project_id, role=Role.VIEWER)
    waiting = {upload.pk for upload in waiting_uploads(project)}
    return [_shown(upload, waiting=upload.pk in waiting) for upload in project.uploads.all()[:200]]


@router.post("/projects/{project_id}/uploads", response={201: UploadPreview})
def upload_file(request: MemberRequest, project_id: Id, file: File[UploadedFile]) -> Any:
    """Upload a file in any format that the pages take, as ``multipart/form-data``. Nothing is imported yet."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    upload = store_upload(project, file, request.user)
    return Status(201, _previewed(upload, read_preview(upload)))


@rows_router.post("/projects/{project_id}/rows", response={201: UploadPreview})  # where rows are read
def upload_rows(request: MemberRequest, project_id: Id, body: JsonRows) -> Any:
    """Send rows as JSON (at most 10,000 and 5 MB). They wait as a file does; nothing is imported yet."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    lines = "\n".join(json.dumps(row) for row in body.rows)
    upload = store_upload(project, ContentFile(lines.encode(), name=body.name), request.user)
    return Status(201, _previewed(upload, read_preview(upload)))


@router.get("/projects/{project_id}/uploads/{upload_id}", response=UploadPreview)
def read_upload(request: MemberRequest, project_id: Id, upload_id: Id) -> Any:
    """The first rows, and how the file is read."""
    upload = _upload(request, project_id, upload_id)
    return _previewed(upload, read_preview(upload))


@router.patch("/projects/{project_id}/uploads/{upload_id}", response=UploadPreview)
def change_reading(request: MemberRequest, project_id: Id, upload_id: Id, body: ReadingBody) -> Any:
    """Have the file read in another way."""
    upload = _upload(request, project_id, upload_id)
    form = checked(ReadingForm(posted(body), reading=upload.reading))
    given = body.model_dump(exclude_none=True).keys()
    chosen: Any = {name: value for name, value in form.cleaned_data.items() if name in given}
    return _previewed(upload, read_preview(upload, **chosen))


@router.post("/projects/{project_id}/uploads/{upload_id}/import", response={202: StageOut})
def import_upload(request: MemberRequest, project_id: Id, upload_id: Id, body: ImportBody) -> Any:  # type: ignore[valid-type]
    """Import the file's rows. What is not said of the columns is taken from ``roles``."""
    upload = _upload(request, project_id, upload_id)
    project, preview = upload.project, read_preview(upload)
    values = guess_roles(project, preview.columns) | body.model_dump(exclude_unset=True)  # type: ignore[attr-defined]
    kinds = values.pop("column_kinds", None) or {}
    places = {
        f"kind_{preview.columns.index(name)}": kind for name, kind in kinds.items() if name in preview.columns
    }
    form = checked(
        MappingForm(posted(values | places), preview=preview, is_table=project.task.student == "table")
    )
    stage = start_import.start_import(
        project, upload, form.roles(), user=request.user, choices=form.choices()
    )
    activity.record(project, user=request.user, verb=Activity.Verb.UPLOADED, what=upload.name)
    return Status(202, shown_stage(stage))


class LeftOut(Schema):
    line: int
    outcome: str
    reason: str


@router.get("/projects/{project_id}/uploads/{upload_id}/left-out", response=list[LeftOut])
def list_left_out_rows(request: MemberRequest, project_id: Id, upload_id: Id) -> Any:
    """The first 10,000 rows that were not imported, and why."""
    upload = _upload(request, project_id, upload_id, role=Role.VIEWER)
    rows = zip(left_out_rows(upload), range(MOST_JSON_ROWS), strict=False)
    return [{"line": line, "outcome": outcome, "reason": str(why)} for (line, outcome, why), _number in rows]


class EditsBody(Schema):
    """``with_conflicts``: also rows that somebody has corrected since the export."""

    with_conflicts: bool = False


class Corrected(Schema):
    """``unknown``: rows whose cell names no label of the project."""

    rows: int
    unknown: int = 0


@router.post("/projects/{project_id}/uploads/{upload_id}/edits", response=Corrected)
def take_edits(request: MemberRequest, project_id: Id, upload_id: Id, body: EditsBody) -> Any:
    """Take the labels that were changed in an export of this project, and uploaded again, as corrections."""
    upload = _upload(request, project_id, upload_id)
    return {"rows": take_edited(upload, with_conflicts=body.with_conflicts, user=request.user)}


@router.post("/projects/{project_id}/given-labels", response=Corrected)
def take_given_labels(request: MemberRequest, project_id: Id, body: GivenBody) -> Any:  # type: ignore[valid-type]
    """Take labels that stand in columns of the rows, as coarse labels (in the background; 0 rows are corrected) or as people's
    corrections."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    form = checked(GivenLabelsForm(posted(body), project=project))
    taken = take_columns(project, form, user=request.user)
    return {"rows": taken.rows, "unknown": taken.unknown} if taken else {"rows": 0}


@router.delete("/projects/{project_id}/uploads/{upload_id}", response={204: None})
def remove_upload(request: MemberRequest, project_id: Id, upload_id: Id) -> Any:
    """Forget a file that nobody has begun to import; of another one nothing changes."""
    upload = _upload(request, project_id, upload_id)
    if upload in waiting_uploads(upload.project):
        delete_upload(upload)
    return Status(204, None)
