"""LLM labeling: progress and controls at the left, the table that fills at the right. Also every stage's controls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _

from annotation.forms.connection import BudgetForm
from annotation.forms.fields import validated
from annotation.jobs import kinds, state
from annotation.jobs.round_metrics import RoundMetrics
from annotation.live import stage_status
from annotation.models import Activity, Iteration, Project, Role, Stage
from annotation.pipeline.ingest.discard_import import cancel_import
from annotation.pipeline.iterate import start_round
from annotation.pipeline.label.take_labels import is_taken
from annotation.pipeline.project import activity, configure
from annotation.views.access import MemberRequest, for_members
from annotation.views.frame import page_context
from annotation.views.review.table import (
    BadTableError,
    labelling_round,
    newest_answers,
    newest_distribution,
    refuse,
    round_table,
)
from mlcore.config import LlmConfig


@for_members(Role.VIEWER, "GET")
def labeling(request: MemberRequest, project: Project) -> HttpResponse:
    """The whole page; htmx gets the table alone."""
    context = page_context(request, project, step="labeling")
    shown: Iteration | None = context["iteration"]
    iteration = labelling_round(shown) if shown else None
    stage = iteration.stage(kinds.LLM.key) if iteration else None
    work: Stage | None = context["work"]
    if work and work.kind == kinds.GIVEN.key and work.status != Stage.Status.DONE and not context["is_past"]:
        stage = work  # no round to show has come of it, or not yet
    context |= {"rows_url": request.get_full_path(), "columns": "llm", "source_round": iteration}
    if stage:
        context |= stage_status.stage_context(stage)
    if iteration and stage:
        context |= {"metrics": RoundMetrics.of(iteration), "is_taken": is_taken(iteration)}
    if iteration and iteration == context["now"]:
        context["changes_count"] = start_round.stopped_without_answers(iteration) is not None
    asks = stage is not None and stage.is_active and stage.kind == kinds.LLM.key
    if iteration and asks and iteration.connected.llm_config.kind != "local":
        context["budget_form"] = BudgetForm(initial=iteration.connected.llm_config.as_dict())
    try:
        context |= _rows(request, project, iteration, stage)
    except BadTableError as error:
        return refuse(request, error)
    return render(
        request,
        "annotation/table/_rows.html" if request.htmx.target == "rows" else "annotation/label/labeling.html",
        context,
    )


def _rows(
    request: MemberRequest, project: Project, iteration: Iteration | None, stage: Stage | None
) -> dict[str, Any]:
    if iteration is None:
        return {"table": None, "rows": [], "is_filling": bool(stage and stage.is_active)}
    if stage and stage.is_active:
        return {
            "table": None,
            "rows": newest_answers(iteration),
            "is_filling": True,
            "distribution": newest_distribution(iteration, project.label_list()),
        }
    table = round_table(request, project, iteration)
    return {"table": table, "rows": table.rows}


@for_members(Role.VIEWER, "GET")
def stage_progress(request: MemberRequest, project: Project, stage_id: int) -> HttpResponse:
    """The progress card alone, for pages that poll."""
    stage = get_object_or_404(Stage, pk=stage_id, project=project)
    return render(request, "annotation/jobs/_stage_progress.html", stage_status.stage_context(stage))


@for_members(Role.OWNER, "POST")
def pause_stage(request: MemberRequest, project: Project, stage_id: int) -> HttpResponse:
    return _steer(request, project, stage_id, "pause")


@for_members(Role.OWNER, "POST")
def cancel_stage(request: MemberRequest, project: Project, stage_id: int) -> HttpResponse:
    return _steer(request, project, stage_id, "cancel")


def _cancel(stage: Stage) -> None:
    """A cancelled import takes back its rows; other stages keep what they finished."""
    if stage.kind == kinds.IMPORT.key:
        cancel_import(stage)
    else:
        state.request_cancel(stage)


@for_members(Role.OWNER, "POST")
def resume_stage(request: MemberRequest, project: Project, stage_id: int) -> HttpResponse:
    return _steer(request, project, stage_id, "resume")


@for_members(Role.OWNER, "POST", back="annotation:labeling")
def set_budget(request: MemberRequest, project: Project) -> HttpResponse:
    """Store prices and budget, and let a run go on that waits for them."""
    change_budget(project, validated(BudgetForm(request.POST)), user=request.user)
    stage = project.stages.filter(kind=kinds.LLM.key).first()
    if stage and stage.status == Stage.Status.PAUSED and "resume" in request.POST:
        steer(stage, "resume", user=request.user)
    return redirect("annotation:labeling", project.pk)


def change_budget(project: Project, form: BudgetForm, *, user: User) -> LlmConfig:
    """Store prices and budget with the language model that the newest run asks."""
    stage = project.stages.filter(kind=kinds.LLM.key).first()
    connected = stage.iteration.connected if stage and stage.iteration else project
    before, config = connected.llm_config, form.with_budget(connected.llm_config)
    configure.set_llm(connected, config=config, token=None)
    if config != before:
        activity.record(project, user=user, verb=Activity.Verb.CONFIGURED, what=_budget_words(config))
    return config


def _budget_words(config: LlmConfig) -> str:
    none = _("none")
    return _("budget: %(money)s in money, %(tokens)s in tokens; prices %(price_in)s and %(price_out)s") % {
        "money": f"{config.budget_money:g}" if config.budget_money else none,
        "tokens": f"{config.budget_tokens:,}" if config.budget_tokens else none,
        "price_in": f"{config.price_in:g}",
        "price_out": f"{config.price_out:g}",
    }


#: What a person can ask of a stage: the function that does it, and how it is written down.
STEERING: dict[str, tuple[Callable[[Stage], None], Activity.Verb]] = {
    "pause": (state.request_pause, Activity.Verb.PAUSED),
    "cancel": (_cancel, Activity.Verb.CANCELLED),
    "resume": (start_round.resume, Activity.Verb.RESUMED),
}


def steer(stage: Stage, word: str, *, user: User) -> Stage:
    """Pause, cancel or resume a stage, and write down who did."""
    action, verb = STEERING[word]
    action(stage)
    activity.record(stage.project, user=user, verb=verb, what=kinds.kind_name(stage))
    stage.refresh_from_db()
    return stage


def _steer(request: MemberRequest, project: Project, stage_id: int, word: str) -> HttpResponse:
    stage = steer(get_object_or_404(Stage, pk=stage_id, project=project), word, user=request.user)
    if request.htmx:
        return render(request, "annotation/jobs/_stage_progress.html", stage_status.stage_context(stage))
    return redirect(f"annotation:{kinds.kind_of(stage).page}", project.pk)
