"""Projects: make, read, set, archive, delete."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _
from ninja import Query, Router, Schema, Status
from pydantic import Field

from annotation.api.access import Id
from annotation.api.bodies import body_of, checked, posted
from annotation.api.lists import PageQuery, page_of
from annotation.forms.configure import LabelForm, MergeForm, PromptForm, ReferenceForm, TaskForm
from annotation.forms.team import TeamForm
from annotation.models import Project, Role
from annotation.pipeline.ingest.reference_labels import MAX_LABELS, match_references
from annotation.pipeline.project import archive
from annotation.pipeline.project import configure as configuring
from annotation.pipeline.project.configure import LabelDraft
from annotation.pipeline.project.merge_labels import merge_label
from annotation.table.counts import row_counts
from annotation.views.access import MemberRequest, project_of_member
from annotation.views.project.configure import prompt_preview, record
from annotation.views.project.projects import make_sample_project, newest_stages, state_of

router = Router(tags=["projects"])

TaskBody = body_of(TaskForm, "TaskBody")
TaskChange = body_of(TaskForm, "TaskChange", partial=True)
PromptBody = body_of(PromptForm, "PromptBody", partial=True)
TeamBody = body_of(TeamForm, "TeamBody", partial=True)
LabelBody = body_of(LabelForm, "LabelBody")
MergeBody = body_of(MergeForm, "MergeBody")


class LabelOut(Schema):
    id: int
    name: str
    description: str
    key: str


class ProjectOut(Schema):
    """``state``: where it stands, in words. ``rows``: None in a list of archived projects."""

    id: int
    name: str
    task_type: str
    role: str
    rows: int
    state: str
    archived: bool
    created_at: datetime
    columns: list[str]
    content_columns: list[str]
    id_column: str
    labels: list[LabelOut]


class Projects(Schema):
    items: list[ProjectOut]
    next: int | None


class ProjectsQuery(PageQuery):
    archived: bool = False


def shown(project: Project, role: str) -> dict[str, Any]:
    stage = newest_stages([project.pk]).get(project.pk)
    own = {name: getattr(project, name) for name in ProjectOut.model_fields if hasattr(Project, name)}
    return own | {
        "id": project.pk,
        "role": role,
        "rows": row_counts([project])[project.pk],
        "state": state_of(project, stage=stage).words,
        "archived": project.put_away_at is not None,
        "labels": project.label_list(),
    }


@router.get("/projects", response=Projects)
def list_projects(request: MemberRequest, query: Query[ProjectsQuery]) -> Any:
    """The projects that the user is a member of, the newest first; or their own ones that were archived."""
    seen = Project.objects.visible_to(request.user).in_use()
    rows = Project.objects.put_away_by(request.user) if query.archived else seen
    roles = dict(request.user.memberships.values_list("project", "role"))
    return page_of(rows, query, lambda project: shown(project, roles[project.pk]))


@router.post("/projects", response={201: ProjectOut})
def create_project(request: MemberRequest, body: TaskBody) -> Any:  # type: ignore[valid-type]
    form = checked(TaskForm(posted(body)))
    project = configuring.create_project(owner=request.user, **form.cleaned_data)
    return Status(201, shown(project, Role.OWNER))


@router.post("/sample-project", response={201: ProjectOut})
def create_sample_project(request: MemberRequest) -> Any:
    """Make a project with the sample corpus of the reader's language, to look around in."""
    return Status(201, shown(make_sample_project(request.user), Role.OWNER))


@router.get("/projects/{project_id}", response=ProjectOut)
def read_project(request: MemberRequest, project_id: Id) -> Any:
    project = project_of_member(request, project_id, role=Role.VIEWER)
    return shown(project, request.role)


@router.patch("/projects/{project_id}", response=ProjectOut)
def change_project(request: MemberRequest, project_id: Id, body: TaskChange) -> Any:  # type: ignore[valid-type]
    """Rename the project, or change its task before the first round."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    form = checked(TaskForm(posted(body, name=project.name, task_type=project.task_type)))
    configuring.set_task(project, **form.cleaned_data)
    record(request, project, _("task"))
    return shown(project, request.role)


@router.post("/projects/{project_id}/archive", response={204: None})
def archive_project(request: MemberRequest, project_id: Id) -> Any:
    archive.put_away(project_of_member(request, project_id, role=Role.OWNER), user=request.user)
    return Status(204, None)


@router.post("/projects/{project_id}/restore", response={204: None})
def restore_project(request: MemberRequest, project_id: Id) -> Any:
    project = project_of_member(request, project_id, role=Role.OWNER, put_away=True)
    archive.take_back(project, user=request.user)
    return Status(204, None)


class Deletion(Schema):
    """``name``: the project's, as a safeguard."""

    name: str


@router.delete("/projects/{project_id}", response={202: None})
def delete_project(request: MemberRequest, project_id: Id, body: Deletion) -> Any:
    """Delete an archived project for good, in the background."""
    project = project_of_member(request, project_id, role=Role.OWNER, put_away=True)
    archive.start_deletion(project, name=body.name, user=request.user)
    return Status(202, None)


# --- What decides how the rows are labelled -----------------------------------------------------------------------


class LabelSetBody(Schema):
    labels: list[LabelBody] = Field(max_length=MAX_LABELS)  # type: ignore[valid-type]
    unknown_references: str | None = Field(
        None, json_schema_extra={"enum": [*Project.UnknownReferences.values]}
    )


@router.get("/projects/{project_id}/labels", response=list[LabelOut])
def read_labels(request: MemberRequest, project_id: Id) -> Any:
    return project_of_member(request, project_id, role=Role.VIEWER).label_list()


@router.put("/projects/{project_id}/labels", response=list[LabelOut])
def set_labels(request: MemberRequest, project_id: Id, body: LabelSetBody) -> Any:
    """Make the labels be exactly these, in this order. One that rows carry can't be left out."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    lines = [checked(LabelForm(posted(label))) for label in body.labels]
    references = checked(
        ReferenceForm(posted({"unknown_references": body.unknown_references}), instance=project)
    )
    drafts = [LabelDraft(**line.cleaned_data) for line in lines]
    labels = configuring.set_labels(project, drafts)
    if body.unknown_references:
        references.save()
    match_references(project)
    record(request, project, _("labels"))
    return labels


@router.post("/projects/{project_id}/labels/merge", response=list[LabelOut])
def merge_labels(request: MemberRequest, project_id: Id, body: MergeBody) -> Any:  # type: ignore[valid-type]
    """Merge a label into another on all rows that carry it; without ``into``, delete it."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    wanted = checked(MergeForm(posted(body), project=project)).cleaned_data
    merge_label(project, wanted["label"], wanted["into"], user=request.user)
    return project.label_list()


class PromptOut(Schema):
    description: str
    demonstration: str
    output: str


class PromptPreview(Schema):
    """What the model would read for the first rows, and what is wrong with the template."""

    problems: list[str]
    unknown: str
    prompts: list[str]


@router.get("/projects/{project_id}/prompt", response=PromptOut)
def read_prompt(request: MemberRequest, project_id: Id) -> Any:
    return project_of_member(request, project_id, role=Role.OWNER).prompt


def _prompt_of(project: Project, body: Schema) -> dict[str, Any]:
    stored = {name: getattr(project.prompt, name) for name in PromptOut.model_fields}
    return checked(PromptForm(posted(body, **stored))).cleaned_data


@router.put("/projects/{project_id}/prompt", response=PromptOut)
def set_prompt(request: MemberRequest, project_id: Id, body: PromptBody) -> Any:  # type: ignore[valid-type]
    """Set the prompt's parts; those that are not given stay."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    configuring.set_prompt(project, **_prompt_of(project, body))
    record(request, project, _("prompt"))
    return project.prompt


@router.post("/projects/{project_id}/prompt/preview", response=PromptPreview)
def preview_prompt(request: MemberRequest, project_id: Id, body: PromptBody) -> Any:  # type: ignore[valid-type]
    """What the model would read, with these parts. Stores nothing."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    preview = prompt_preview(project, replace(project.prompt, **_prompt_of(project, body)))
    problems = [str(problem) for problem in preview["problems"]]
    prompts = [prompt.text for _sample, prompt in preview["prompts"]]
    return {"problems": problems, "unknown": preview["unknown"], "prompts": prompts}


class TeamOut(Schema):
    guidelines: str
    double_review_percent: int


@router.get("/projects/{project_id}/guidelines", response=TeamOut)
def read_guidelines(request: MemberRequest, project_id: Id) -> Any:
    return project_of_member(request, project_id, role=Role.VIEWER)


@router.put("/projects/{project_id}/guidelines", response=TeamOut)
def set_guidelines(request: MemberRequest, project_id: Id, body: TeamBody) -> Any:  # type: ignore[valid-type]
    """Set the guidelines, and how many rows two people label; what is not given stays."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    stored = {name: getattr(project, name) for name in TeamOut.model_fields}
    form = checked(TeamForm(posted(body, **stored)))
    configuring.set_guidelines(project, user=request.user, **form.cleaned_data)
    return project
