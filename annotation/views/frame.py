"""What every page of a project shows around its content: the steps, the round, and what the user may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import Http404
from django.urls import reverse
from django.utils.translation import gettext as _

from annotation.jobs import kinds
from annotation.live.goal_status import goal_bar
from annotation.live.project_work import project_work
from annotation.models import Iteration, Project, Role, Stage
from annotation.views.access import RANKS, MemberRequest


@dataclass(frozen=True, slots=True)
class Step:
    """One of the five steps on top of a project's pages. ``state``: done, busy, open or closed."""

    name: str
    url: str
    state: str
    hint: str = ""


def page_context(request: MemberRequest, project: Project, *, step: str) -> dict[str, Any]:
    """Context of a project page; ``?round=`` chooses the round that is looked at."""
    iterations = list(project.iterations.order_by("-number"))
    now = current_round(iterations)
    shown = shown_round(request, iterations, now)
    return {
        "project": project,
        "role": request.role,
        "can_review": RANKS[request.role] >= RANKS[Role.REVIEWER],
        "can_own": request.role == Role.OWNER,
        "step": step,
        "steps": project_steps(project, iterations, now),
        "iterations": iterations,
        "iteration": shown,
        "now": now,
        "is_past": shown != now,
        "bar": goal_bar(project, request.role),
    } | project_work(project)


def current_round(iterations: list[Iteration]) -> Iteration | None:
    """The newest round that nobody went back from, judged or still at work: what a page opens on."""
    return next((iteration for iteration in iterations if iteration.withdrawn_at is None), None)


def shown_round(
    request: MemberRequest, iterations: list[Iteration], now: Iteration | None
) -> Iteration | None:
    """The round that ``?round=`` names, or the current one; 404 for a round that is not there."""
    wanted = request.GET.get("round", "")
    if not wanted:
        return now
    found = [iteration for iteration in iterations if str(iteration.number) == wanted]
    if not found:
        raise Http404
    return found[0]


def project_steps(project: Project, iterations: list[Iteration], now: Iteration | None) -> dict[str, Step]:
    """The five steps and how far each is."""
    stages = {
        (stage.iteration_id, stage.kind): stage
        for stage in project.stages.filter(kind__in=kinds.keys(lambda kind: kind.is_step))
        .defer("detail")
        .order_by("id")
    }
    current = now.pk if now else None
    llm, slm = stages.get((current, kinds.LLM.key)), stages.get((current, kinds.SLM.key))
    labelled = len(iterations) > 1 or (llm is not None and llm.done > 0)
    filtered = any(
        stage.kind == kinds.SLM.key and stage.status == Stage.Status.DONE for stage in stages.values()
    )
    started = bool(iterations)

    def url(name: str) -> str:
        return reverse(f"annotation:{name}", args=[project.pk])

    return {
        "configure": Step(_("Configure"), url("configure"), "done" if started else "open"),
        "labeling": Step(
            _("LLM labeling"),
            url("labeling"),
            _state(llm, started, carried=started and llm is None),
            _("Available once the project is configured and started."),
        ),
        "filtering": Step(
            _("SLM filtering"),
            url("filtering"),
            _state(slm, labelled),
            _("Available once the LLM has labelled rows."),
        ),
        "review": Step(
            _("Review"),
            url("review"),
            "open" if labelled else "closed",
            _("Available once the LLM has labelled rows."),
        ),
        "export": Step(
            _("Export"),
            url("export"),
            "open" if labelled or filtered else "closed",
            _("Available once there are labels to download."),
        ),
    }


def _state(stage: Stage | None, is_open: bool, *, carried: bool = False) -> str:
    if carried or (stage and stage.status == Stage.Status.DONE):
        return "done"
    if stage and stage.is_active:
        return "busy"
    return "open" if is_open else "closed"
