"""The team: who did what, for owners; the guidelines, for everybody."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import redirect, render

from annotation.forms.fields import is_id
from annotation.forms.team import TeamForm
from annotation.models import Project, Role
from annotation.pipeline.measure.agreement import double_review
from annotation.pipeline.project.configure import set_guidelines
from annotation.pipeline.review import throughput
from annotation.views.access import MemberRequest, for_members
from annotation.views.frame import page_context

SHOWN_ACTIVITIES = 50


@for_members(Role.OWNER, "GET", back="annotation:members")
def activity(request: MemberRequest, project: Project) -> HttpResponse:
    """Who answered how much, how quickly and how alike; and everything else that people did, newest first."""
    shown = project.activities.select_related("user")
    before = request.GET.get("before", "")
    if is_id(before):
        shown = shown.filter(pk__lt=int(before))
    events = list(shown[: SHOWN_ACTIVITIES + 1])
    context = page_context(request, project, step="members") | {
        "team": throughput.team_throughput(project),
        "events": events[:SHOWN_ACTIVITIES],
        "older": events[SHOWN_ACTIVITIES - 1].pk if len(events) > SHOWN_ACTIVITIES else None,
        "agreement": double_review(project),
    }
    return render(request, "annotation/project/activity.html", context)


@for_members(Role.VIEWER, "GET", "POST", back="annotation:members")
def guidelines(request: MemberRequest, project: Project) -> HttpResponse:
    """What reviewers are to go by. Every member reads it; owners write it and say how much is answered twice."""
    can_write = request.role == Role.OWNER
    form = TeamForm(
        request.POST if request.method == "POST" else None,
        initial={"guidelines": project.guidelines, "double_review_percent": project.double_review_percent},
    )
    if request.method == "POST" and can_write and form.is_valid():
        set_guidelines(project, user=request.user, **form.cleaned_data)
        return redirect("annotation:guidelines", project.pk)
    context = page_context(request, project, step="members") | {"form": form}
    status = 403 if request.method == "POST" and not can_write else 400 if form.errors else 200
    return render(request, "annotation/project/guidelines.html", context, status=status)
