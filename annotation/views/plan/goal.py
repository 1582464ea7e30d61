"""The goal: what the file is to reach, what it may take, and who changed it when."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from annotation.forms.goal import GoalForm
from annotation.models import Activity, Project, Role
from annotation.pipeline.project import activity
from annotation.pipeline.project.goal import goal_changes, set_goal
from annotation.views.access import MemberRequest, for_members
from annotation.views.frame import page_context


@for_members(Role.VIEWER, "GET")
def goal(request: MemberRequest, project: Project) -> HttpResponse:
    return _page(request, project, GoalForm(None, project=project))


@for_members(Role.OWNER, "POST", back="annotation:goal")
def change_goal(request: MemberRequest, project: Project) -> HttpResponse:
    form = GoalForm(request.POST, project=project)
    if not form.is_valid():
        return _page(request, project, form, status=400)
    set_goal(project, user=request.user, **form.cleaned_data)
    activity.record(project, user=request.user, verb=Activity.Verb.CONFIGURED, what=_("goal"))
    messages.success(request, _("The goal is saved."))
    return redirect("annotation:goal", project.pk)


def _page(request: MemberRequest, project: Project, form: GoalForm, *, status: int = 200) -> HttpResponse:
    context = page_context(request, project, step="goal") | {"form": form, "changes": goal_changes(project)}
    return render(request, "annotation/plan/goal.html", context, status=status)
