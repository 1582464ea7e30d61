"""The list of projects, and the door to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.db.models import Max
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation.forms.configure import TaskForm
from annotation.forms.upload import UploadForm
from annotation.jobs import kinds
from annotation.jobs.details import PlanDetail
from annotation.models import Project, Role, Stage
from annotation.pipeline.project import configure as configuring
from annotation.pipeline.project import samples
from annotation.table.counts import row_counts
from annotation.views.access import MemberRequest, for_members
from annotation.views.ingest import uploads
from mlcore.prompting.tasks import TASKS


@dataclass(frozen=True, slots=True)
class ProjectState:
    """Where a project stands, in a word for the eye and a sentence for the mind."""

    tone: str
    words: str
    page: str


@require_GET
@login_required
@never_cache
def projects(request: MemberRequest) -> HttpResponse:
    found = list(
        Project.objects.in_use()
        .visible_to(request.user)
        .prefetch_related("labels", "memberships__user")
        .select_related("owner")
    )
    rows = row_counts(found)
    newest = newest_stages([project.pk for project in found])
    measured = measured_accuracy([project.pk for project in found])
    cards: list[dict[str, Any]] = [
        {
            "project": project,
            "rows": rows[project.pk],
            "state": state_of(project, stage=newest.get(project.pk)),
            "accuracy": measured.get(project.pk),
            "role": next(
                member.get_role_display()
                for member in project.memberships.all()
                if member.user_id == request.user.pk
            ),
        }
        for project in found
    ]
    return render(
        request,
        "annotation/project/projects.html",
        {
            "cards": cards,
            "busy": any(card["state"].tone == "run" for card in cards),
            "put_away": put_away_lines(request.user),
        },
    )


@require_GET
@login_required
def help_page(request: MemberRequest) -> HttpResponse:
    return render(request, "annotation/help.html")


def put_away_lines(user: User) -> list[dict[str, Any]]:
    """The projects that were put away, each with the stage that deletes it, if one does."""
    found = list(Project.objects.put_away_by(user))
    deletions = {
        stage.project_id: stage for stage in Stage.objects.filter(project__in=found, kind=kinds.DELETION.key)
    }
    return [{"project": project, "deletion": deletions.get(project.pk)} for project in found]


def measured_accuracy(project_ids: list[int]) -> dict[int, list[float]]:
    """The accuracy that each project's newest plan knows of, with its interval; projects without one are left out."""
    plans = Stage.objects.filter(
        project__in=project_ids, kind=kinds.PLAN.key, status=Stage.Status.DONE
    ).order_by()
    newest = plans.values("project").annotate(newest=Max("id")).values("newest")
    known = {plan.project_id: PlanDetail.of(plan).now for plan in Stage.objects.filter(pk__in=newest)}
    return {project_id: now for project_id, now in known.items() if now}


def newest_stages(project_ids: list[int]) -> dict[int, Stage]:
    """The newest stage of each project, what runs beside the rounds left out."""
    stages = (
        Stage.objects.filter(project__in=project_ids, kind__in=kinds.keys(lambda kind: kind.is_step))
        .select_related("iteration")
        .order_by("id")
    )
    return {stage.project_id: stage for stage in stages}


def state_of(project: Project, *, stage: Stage | None) -> ProjectState:
    """In words: what is at work, what went wrong, or what comes next."""
    if stage is None:
        return ProjectState("warn", _("No data yet: upload a file"), "configure_data")
    page = kinds.kind_of(stage).page
    if stage.status == Stage.Status.FAILED:
        return ProjectState("bad", _("%(stage)s failed") % {"stage": kinds.kind_name(stage)}, page)
    if stage.is_active or stage.status == Stage.Status.CANCELLED:
        tone = "run" if stage.is_active else "warn"
        words = _("%(stage)s: %(state)s, %(percent)d %%") % {
            "stage": kinds.kind_name(stage),
            "state": stage.get_status_display(),
            "percent": stage.percent,
        }
        return ProjectState(tone, words, page)
    if stage.iteration is None:
        labels = len(project.labels.all())
        words = _("Ready to start") if labels > 1 else _("Imported; next: set the labels")
        return ProjectState("warn", words, "configure")
    if stage.kind == kinds.LLM.key:
        return ProjectState("warn", _("Labelled by the LLM; next: SLM filtering"), "filtering")
    return ProjectState(
        "ok", _("Round %(number)d is done; next: review") % {"number": stage.iteration.number}, "review"
    )


@require_http_methods(["GET", "POST"])
@login_required
@never_cache
def create_project(request: MemberRequest) -> HttpResponse:
    """A new project, and its file where one was chosen at once."""
    is_sent = request.method == "POST"
    form = TaskForm(request.POST if is_sent else None, initial={"task_type": Project.TaskType.SENTIMENT})
    if is_sent and form.is_valid():
        project = configuring.create_project(
            name=form.cleaned_data["name"], task_type=form.cleaned_data["task_type"], owner=request.user
        )
        if request.FILES:
            return uploads.store_files(request, project)
        return redirect("annotation:configure_data", project.pk)
    return render(
        request,
        "annotation/project/project_new.html",
        {"form": form, "upload": UploadForm(), "tasks": task_choices()},
        status=400 if form.errors else 200,
    )


@require_POST
@login_required
def load_sample(request: MemberRequest) -> HttpResponse:
    """A project with the sample corpus of the reader's language, to look around in."""
    return redirect("annotation:configure_data", make_sample_project(request.user).pk)


def make_sample_project(user: User) -> Project:
    """A project with the sample corpus of the reader's language, its import queued."""
    sample = samples.CHINESE if get_language() == "zh-hans" else samples.ENGLISH
    project = samples.configure_sample(sample, user)
    samples.import_sample(project, sample, user)
    return project


def task_choices() -> list[dict[str, Any]]:
    """The task types with a sentence on each."""
    return [
        {"value": task.name, "title": _(task.title), "hint": _(task.help_text)} for task in TASKS.values()
    ]


@for_members(Role.VIEWER, "GET")
def project(request: MemberRequest, project: Project) -> HttpResponse:
    """Lead to the page where this project's work goes on."""
    stage = newest_stages([project.pk]).get(project.pk)
    page = state_of(project, stage=stage).page
    if page.startswith("configure") and request.role != Role.OWNER:
        page = "members"
    return redirect(f"annotation:{page}", project.pk)


def bad_request(request: HttpRequest, sentence: str) -> HttpResponse:
    """A request with a value that is not allowed, said in a sentence."""
    return render(request, "400.html", {"sentence": sentence}, status=400)
