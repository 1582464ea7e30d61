"""The kept model: what it is, its download, and the labeling of new rows by it."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.text import slugify

from annotation.jobs import kinds
from annotation.live import stage_status
from annotation.models import Activity, Project, Role, Stage
from annotation.pipeline.distill.kept_model import (
    kept_model,
    measure_model,
    measured_sentence,
    needed_model,
    zip_model,
)
from annotation.pipeline.distill.start_new_rows import new_rows, start_new_rows
from annotation.pipeline.project import activity
from annotation.views.access import MemberRequest, for_members
from annotation.views.export.downloads import Download
from annotation.views.frame import page_context


@for_members(Role.VIEWER, "GET")
def model(request: MemberRequest, project: Project) -> HttpResponse:
    kept = kept_model(project)
    context = page_context(request, project, step="filtering") | {"waiting": new_rows(project).count()}
    if kept:
        context |= {
            "spec": kept.spec,
            "trained_in": kept.iteration.number,
            "trained_at": kept.stage.finished_at,
            "accuracy": measured_sentence(measure_model(kept)),
        }
    stage = project.stages.filter(kind=kinds.NEW_ROWS.key).first()
    if stage:
        context |= stage_status.stage_context(stage)
    context["can_label"] = bool(kept and context["waiting"] and not (stage and stage.status in Stage.ACTIVE))
    return render(request, "annotation/distill/model.html", context)


@for_members(Role.VIEWER, "GET", back="annotation:model")
def download_model(request: MemberRequest, project: Project) -> Download:
    """The model's folder, its card made anew with what people have answered since."""
    return open_model(project, user=request.user)


def open_model(project: Project, *, user: User) -> Download:
    """The model's folder as a file; who takes it is written down."""
    file = zip_model(needed_model(project))
    activity.record(project, user=user, verb=Activity.Verb.DOWNLOADED, what="model")
    return Download(file, filename=f"{slugify(project.name, allow_unicode=True) or 'coral'}-model.zip")


@for_members(Role.OWNER, "POST", back="annotation:model")
def label_new_rows(request: MemberRequest, project: Project) -> HttpResponse:
    stage = start_new_rows(project, user=request.user)
    activity.record_stage(stage, user=request.user)
    return redirect("annotation:model", project.pk)
