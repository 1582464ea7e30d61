"""Try a few rows before a run."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import redirect, render

from annotation.jobs import kinds
from annotation.jobs.details import TrialDetail
from annotation.live import stage_status
from annotation.models import Project, Role
from annotation.pipeline.label import start_try_out
from annotation.pipeline.project import activity
from annotation.views.access import MemberRequest, for_members
from annotation.views.frame import page_context


@for_members(Role.OWNER, "GET")
def trial(request: MemberRequest, project: Project) -> HttpResponse:
    """The newest try-out: answers beside the prompt, and what the whole corpus will take."""
    stage = project.stages.filter(kind=kinds.TRIAL.key).first()
    context = page_context(request, project, step="configure")
    if stage:
        context |= stage_status.stage_context(stage)
    labels = {label.name: label for label in project.label_list()}
    detail = TrialDetail.of(stage) if stage else TrialDetail()
    rows = [(row, labels.get(row["label"])) for row in detail.rows]
    is_stale = bool(rows and detail.asked_with != start_try_out.decides_trial(project))
    return render(request, "annotation/label/try_out.html", context | {"rows": rows, "is_stale": is_stale})


@for_members(Role.OWNER, "POST", back="annotation:trial")
def start_trial(request: MemberRequest, project: Project) -> HttpResponse:
    stage = start_try_out.start_trial(project, user=request.user)
    activity.record_stage(stage, user=request.user)
    return redirect("annotation:trial", project.pk)
