"""SLM filtering: epochs, curves and the map of the features at the left, each row's evidence at the right."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from annotation import progress
from annotation.errors import NotReadyError
from annotation.models import Iteration, Prediction, Project, Role, Stage
from annotation.pipeline import iterate
from annotation.views.access import MemberRequest, for_members
from annotation.views.frame import page_context
from annotation.views.table import BadTableError, refuse, round_table

MOST_POINTS = 2_000


@require_GET
@for_members(Role.VIEWER)
def filtering(request: MemberRequest, project: Project) -> HttpResponse:
    context = page_context(request, project, step="filtering")
    iteration: Iteration | None = context["iteration"]
    stage = iteration.stage(Stage.Kind.SLM) if iteration else None
    context |= {
        "rows_url": request.get_full_path(),
        "columns": "slm",
        "can_start": _can_start(iteration, stage),
    }
    if stage:
        context |= progress.stage_context(stage)
    try:
        table = round_table(request, project, iteration) if iteration else None
    except BadTableError as error:
        return refuse(request, error)
    context |= {"table": table, "rows": table.rows if table else []}
    return render(
        request,
        "annotation/_rows.html" if request.htmx.target == "rows" else "annotation/filtering.html",
        context,
    )


def _can_start(iteration: Iteration | None, stage: Stage | None) -> bool:
    """Whether this round's filtering waits for somebody to start it."""
    if iteration is None or stage is not None:
        return False
    llm = iteration.stage(Stage.Kind.LLM)
    return llm is not None and not llm.is_active and llm.done > 0


@require_POST
@for_members(Role.OWNER, back="annotation:filtering")
def start_filtering(request: MemberRequest, project: Project) -> HttpResponse:
    iteration = project.latest_iteration()
    if iteration is None:
        raise NotReadyError(_("The project has no round yet. Start it under Configure first."))
    if iteration.stage(Stage.Kind.SLM) is None:
        iterate.start_filtering(iteration, user=request.user)
    return redirect("annotation:filtering", project.pk)


@require_GET
@for_members(Role.VIEWER)
def filtering_plots(request: MemberRequest, project: Project) -> HttpResponse:
    """What the page's plots show: the epochs so far, and a map of the features."""
    iteration: Iteration | None = page_context(request, project, step="filtering")["iteration"]
    stage = iteration.stage(Stage.Kind.SLM) if iteration else None
    points = points_of(project, iteration) if iteration else []
    return JsonResponse({"epochs": epochs_of(stage), "points": points})


def epochs_of(stage: Stage | None) -> list[dict[str, Any]]:
    history = stage.detail_value("history", []) if stage else []
    return [
        {name: epoch.get(name) for name in ("epoch", "phase", "loss", "loss_unlabelled", "clean_share")}
        for epoch in history
    ]


def points_of(project: Project, iteration: Iteration) -> list[dict[str, Any]]:
    """A series of points for each label, at most some thousand in all; likely wrong rows come as a series of their own."""
    rows = (
        Prediction.objects.filter(iteration=iteration, source=Prediction.ModelKind.SLM, x__isnull=False)
        .order_by("id")
        .values_list("label", "flag", "x", "y")[:MOST_POINTS]
    )
    series: dict[int | None, list[dict[str, Any]]] = {}
    for label, flag, x, y in rows:
        series.setdefault(label, []).append({"x": x, "y": y, "wrong": flag in ("wrong", "inconsistent")})
    return [
        {"label": label.name, "colour": label.colour, "points": series.get(label.pk, [])}
        for label in project.label_list()
    ]
