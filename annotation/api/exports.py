"""Files of the labelled rows: made in the background, then downloaded."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from ninja import Query, Router, Schema, Status

from annotation.api.access import Id
from annotation.api.bodies import body_of, checked, posted
from annotation.api.lists import PageQuery, page_of
from annotation.api.steps import StageOut, shown_stage, stage_of
from annotation.forms.rounds import ExportForm
from annotation.jobs import kinds
from annotation.jobs.details import ExportDetail
from annotation.models import Role, Stage
from annotation.views.access import MemberRequest, project_of_member
from annotation.views.export.downloads import Download
from annotation.views.export.exports import begin_export, open_export

router = Router(tags=["results"])

ExportBody = body_of(ExportForm, "ExportBody")


class ExportOut(Schema):
    """``download``: the address of the file once the stage is done."""

    stage: StageOut
    format: str
    rows: int | None
    download: str | None


class Exports(Schema):
    items: list[ExportOut]
    next: int | None


def _shown_export(stage: Stage) -> dict[str, Any]:
    detail, is_done = ExportDetail.of(stage), stage.status == Stage.Status.DONE
    address = reverse("api:download_export", args=[stage.project_id, stage.pk])
    return {
        "stage": shown_stage(stage),
        "format": detail.format,
        "rows": stage.done if is_done else None,
        "download": address if is_done else None,
    }


@router.get("/projects/{project_id}/exports", response=Exports)
def list_exports(request: MemberRequest, project_id: Id, query: Query[PageQuery]) -> Any:
    project = project_of_member(request, project_id, role=Role.VIEWER)
    stages = project.stages.filter(kind=kinds.EXPORT.key).select_related("requested_by", "project")
    return page_of(stages, query, _shown_export)


@router.post("/projects/{project_id}/exports", response={202: ExportOut})
def start_export(request: MemberRequest, project_id: Id, body: ExportBody) -> Any:  # type: ignore[valid-type]
    """Make a file; ask for the export until it is done, then download it. ``query``: a filter as in the review table's address."""
    project = project_of_member(request, project_id, role=Role.VIEWER)
    return Status(
        202, _shown_export(begin_export(project, checked(ExportForm(posted(body))), user=request.user))
    )


@router.get("/projects/{project_id}/exports/{stage_id}", response=ExportOut)
def read_export(request: MemberRequest, project_id: Id, stage_id: Id) -> Any:
    project = project_of_member(request, project_id, role=Role.VIEWER)
    return _shown_export(stage_of(project, stage_id, kind=kinds.EXPORT.key))


@router.get("/projects/{project_id}/exports/{stage_id}/download", response={200: bytes})
def download_export(request: MemberRequest, project_id: Id, stage_id: Id) -> Download:
    project = project_of_member(request, project_id, role=Role.VIEWER)
    return open_export(stage_of(project, stage_id, kind=kinds.EXPORT.key), user=request.user)
