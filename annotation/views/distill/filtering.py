"""SLM filtering: epochs, curves and the map of the features at the left, each row's evidence at the right."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render

from annotation.errors import NotReadyError
from annotation.jobs import kinds
from annotation.jobs.details import TrainingDetail
from annotation.live import stage_status
from annotation.models import EpochRows, Iteration, Prediction, Project, Role, Stage
from annotation.pipeline.distill import start_distillation
from annotation.pipeline.project import activity
from annotation.views.access import MemberRequest, for_members
from annotation.views.distill.training_report import RoundLabel, loss_plot, report_context, round_label_list
from annotation.views.frame import page_context
from annotation.views.review.table import BadTableError, TableRow, refuse, round_table

MOST_POINTS = 5_000  # as many as the engine maps


@for_members(Role.VIEWER, "GET")
def filtering(request: MemberRequest, project: Project) -> HttpResponse:
    context = page_context(request, project, step="filtering")
    iteration: Iteration | None = context["iteration"]
    stage = iteration.stage(kinds.SLM.key) if iteration else None
    context |= {
        "rows_url": request.get_full_path(),
        "columns": "slm",
        "can_start": _can_start(iteration, stage),
    }
    if stage:
        context |= stage_status.stage_context(stage)
    if iteration and stage:
        context |= report_context(stage, project, iteration)
    try:
        table = round_table(request, project, iteration) if iteration else None
    except BadTableError as error:
        return refuse(request, error)
    if table and stage and stage.is_active:
        show_epoch(table.rows, project, stage)
    context |= {"table": table, "rows": table.rows if table else []}
    return render(
        request,
        "annotation/table/_rows.html"
        if request.htmx.target == "rows"
        else "annotation/distill/filtering.html",
        context,
    )


def show_epoch(rows: list[TableRow], project: Project, stage: Stage) -> None:
    """Show in the rows of a training that runs what its networks say after the newest epoch."""
    said = epoch_rows(stage)
    labels = project.labels.in_bulk()
    for row in rows:
        if values := said.get(str(row.sample.pk)):
            label, row.confidence, row.clean_prob, row.clean_rank, row.flag = values[:5]
            row.slm_label = labels.get(label)


def epoch_rows(stage: Stage) -> dict[str, list[Any]]:
    kept = EpochRows.objects.filter(stage=stage).first()
    return kept.rows if kept else {}


def _can_start(iteration: Iteration | None, stage: Stage | None) -> bool:
    """Whether this round's filtering waits for somebody to start it."""
    if iteration is None or stage is not None:
        return False
    llm = iteration.stage(kinds.LLM.key)
    return llm is not None and not llm.is_active and llm.done > 0


@for_members(Role.OWNER, "POST", back="annotation:filtering")
def start_filtering(request: MemberRequest, project: Project) -> HttpResponse:
    begin_filtering(project, user=request.user)
    return redirect("annotation:filtering", project.pk)


def begin_filtering(project: Project, *, user: User) -> Stage:
    """The stage that trains the newest round's small model, started now if it was not before.

    Raises:
        NotReadyError: there is no round yet.
    """
    iteration = project.latest_iteration()
    if iteration is None:
        raise NotReadyError("The project has no round yet. Start the first one under Configure.")
    if begun := iteration.stage(kinds.SLM.key):
        return begun
    stage = start_distillation.start_filtering(iteration, user=user)
    activity.record_stage(stage, user=user)
    return stage


@for_members(Role.VIEWER, "GET")
def filtering_plots(request: MemberRequest, project: Project) -> HttpResponse:
    """What the page's plots show: the epochs so far, the losses and a map of the rows; the version alone where it is that
    which the page has ``seen``."""
    iteration: Iteration | None = page_context(request, project, step="filtering")["iteration"]
    stage = iteration.stage(kinds.SLM.key) if iteration else None
    if iteration is None or stage is None:
        return JsonResponse({"epochs": [], "losses": {"edges": [], "parts": []}, "labels": [], "points": []})
    labels, version = round_label_list(project, iteration), _version(stage)
    if request.GET.get("seen") == version:
        return JsonResponse({"version": version})
    return JsonResponse(
        {
            "version": version,
            "epochs": epochs_of(stage),
            "losses": loss_plot(stage, labels),
            "labels": [{"name": label.name, "colour": label.colour} for label in labels],
            "points": points_of(iteration, labels)
            if stage.status == Stage.Status.DONE
            else epoch_points(stage, labels),
        }
    )


def _version(stage: Stage) -> str:
    """Changes with whatever the plots show."""
    return f"{stage.status}-{stage.epoch}-{stage.phase}-{TrainingDetail.of(stage).shown_epoch}"


def epochs_of(stage: Stage) -> list[dict[str, Any]]:
    return [
        {name: epoch.get(name) for name in ("epoch", "phase", "loss", "loss_unlabelled", "clean_share")}
        for epoch in TrainingDetail.of(stage).history
    ]


def epoch_points(stage: Stage, labels: list[RoundLabel]) -> list[list[Any]]:
    """The same of a training that runs, after its newest epoch."""
    places = {label.pk: place for place, label in enumerate(labels)}
    return [
        [int(sample), number, places[label], flag, rank, x, y]
        for sample, (label, _confidence, _clean, rank, flag, x, y, number) in epoch_rows(stage).items()
        if x is not None and label in places
    ]


def points_of(iteration: Iteration, labels: list[RoundLabel]) -> list[list[Any]]:
    """The mapped rows as short lists: sample, row number, place of the label, flag, rank, x, y."""
    places = {label.pk: place for place, label in enumerate(labels)}
    rows = Prediction.objects.filter(
        iteration=iteration, source=Prediction.ModelKind.SLM, x__isnull=False
    ).values_list("sample_id", "sample__position", "label_id", "flag", "clean_rank", "x", "y")[:MOST_POINTS]
    return [
        [sample, position + 1, places[label], flag, rank, round(x, 3), round(y, 3)]
        for sample, position, label, flag, rank, x, y in rows
        if label in places and x is not None and y is not None
    ]
