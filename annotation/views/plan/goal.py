"""The goal: what the file is to reach, what it may take, and who changed it when."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django_htmx.http import HttpResponseClientRedirect

from annotation.errors import NotReadyError
from annotation.forms.goal import GoalForm
from annotation.jobs.state import replan
from annotation.live.goal_status import STEP_WORDS, goal_bar
from annotation.models import Activity, PlanStep, Project, Role
from annotation.pipeline.plan.carry_out import carry_out, step_of
from annotation.pipeline.project import activity
from annotation.pipeline.project.goal import goal_changes, set_goal
from annotation.views.access import MemberRequest, for_members
from annotation.views.frame import page_context

SHOWN_STEPS = 30
PAGES = {
    "try": "trial",
    "label": "labeling",
    "train": "filtering",
    "measure": "focus",
    "review": "focus",
    "refine": "review",
    "compare": "connections",
    "relabel": "labeling",
    "stop": "certificate",
}


@for_members(Role.VIEWER, "GET")
def goal(request: MemberRequest, project: Project) -> HttpResponse:
    return _page(request, project, GoalForm(None, project=project))


@for_members(Role.OWNER, "POST", back="annotation:goal")
def change_goal(request: MemberRequest, project: Project) -> HttpResponse:
    form = GoalForm(request.POST, project=project)
    if not form.is_valid():
        return _page(request, project, form, status=400)
    store_goal(project, form, user=request.user)
    messages.success(request, _("The goal is saved."))
    return redirect("annotation:goal", project.pk)


def store_goal(project: Project, form: GoalForm, *, user: User) -> None:
    """Set the goal that a valid form holds, and write down who did."""
    set_goal(project, user=user, **form.cleaned_data)
    activity.record(project, user=user, verb=Activity.Verb.CONFIGURED, what=_("goal"))


@for_members(Role.REVIEWER, "POST", back="annotation:goal")
def begin_step(request: MemberRequest, project: Project) -> HttpResponse:
    """Begin the step that the plan names, and lead to where it goes on."""
    step = begin_next_step(project, request.role, user=request.user)
    url = reverse(f"annotation:{PAGES[step.kind]}", args=[project.pk])
    url += "?only=random" if step.kind == "measure" else ""
    return HttpResponseClientRedirect(url) if request.htmx else redirect(url)


def begin_next_step(project: Project, role: Role, *, user: User) -> PlanStep:
    """Begin the step that the plan names.

    Raises:
        NotReadyError: it names none, or it can't begin now.
        PermissionDenied: only an owner may begin it.
    """
    bar = goal_bar(project, role)
    if bar is None or not bar.step_words:
        raise NotReadyError(
            "There is no next step to begin now. Look at the goal page for what is being done."
        )
    if not bar.can_begin:
        raise PermissionDenied(_("Only an owner of the project can begin this step."))
    begun = carry_out(project, step_of(bar.plan.step), user=user, minutes=bar.plan.minutes)
    replan(project.pk)
    return begun


def _page(request: MemberRequest, project: Project, form: GoalForm, *, status: int = 200) -> HttpResponse:
    context = page_context(request, project, step="goal") | {
        "form": form,
        "changes": goal_changes(project),
        "begun": [
            (step, STEP_WORDS[step.kind] % {"rows": f"{step.rows:,}"})
            for step in project.plan_steps.all()[:SHOWN_STEPS]
        ],
    }
    return render(request, "annotation/plan/goal.html", context, status=status)
