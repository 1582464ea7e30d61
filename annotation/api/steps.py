"""The steps of the loop: started, paused, resumed, cancelled, and how far each is; the rounds they belong to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.shortcuts import get_object_or_404
from ninja import Query, Router, Schema, Status

from annotation.api.access import Id
from annotation.api.bodies import body_of, checked, posted
from annotation.api.lists import PageQuery, page_of
from annotation.forms.connection import BudgetForm
from annotation.forms.rounds import RoundForm
from annotation.jobs import kinds
from annotation.jobs.details import TrialDetail
from annotation.live.stage_figures import seconds_left
from annotation.live.stage_status import stage_context
from annotation.messages import message_text
from annotation.models import Iteration, Project, Role, Stage
from annotation.pipeline.iterate import restore_round, start_round
from annotation.pipeline.label import start_try_out
from annotation.pipeline.measure import round_metrics
from annotation.pipeline.project import activity
from annotation.views.access import MemberRequest, project_of_member
from annotation.views.distill.filtering import begin_filtering
from annotation.views.label.labeling import change_budget, steer

router = Router(tags=["steps"])

RoundBody = body_of(RoundForm, "RoundBody")
BudgetBody = body_of(BudgetForm, "BudgetBody")


class StageOut(Schema):
    """A job. ``status``: queued, running, pausing, paused, cancelling, cancelled, failed or done. ``error``: why it stopped."""

    id: int
    kind: str
    name: str
    round: int | None
    status: str
    phase: str
    done: int
    total: int
    percent: int
    epoch: int
    epochs: int
    seconds: float
    seconds_left: float | None
    tokens_in: int
    tokens_out: int
    cost: float | None
    error: str
    not_followed: str
    resume_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    requested_by: str | None


class Stages(Schema):
    items: list[StageOut]
    next: int | None


class StagesQuery(PageQuery):
    kind: str | None = None
    active: bool | None = None


def shown_stage(stage: Stage) -> dict[str, Any]:
    """A stage as JSON, with the figures of its progress card."""
    status = stage_context(stage)
    own = {name: getattr(stage, name) for name in StageOut.model_fields if hasattr(stage, name)}
    return own | {
        "name": kinds.kind_name(stage),
        "round": stage.iteration and stage.iteration.number,
        "status": stage.state,
        "seconds_left": seconds_left(stage) if stage.is_active else None,
        "cost": status["cost"],
        "error": message_text(stage.error),
        "not_followed": message_text(status["not_followed"]),
        "requested_by": stage.requested_by and stage.requested_by.get_username(),
    }


def stage_of(project: Project, stage_id: int, **conditions: Any) -> Stage:
    return get_object_or_404(project.stages.select_related("iteration"), pk=stage_id, **conditions)


@router.get("/projects/{project_id}/stages", response=Stages)
def list_stages(request: MemberRequest, project_id: Id, query: Query[StagesQuery]) -> Any:
    """The project's jobs, the newest first."""
    project = project_of_member(request, project_id, role=Role.VIEWER)
    stages = project.stages.select_related("iteration", "requested_by", "project")
    if query.active is not None:
        stages = (
            stages.filter(status__in=Stage.ACTIVE)
            if query.active
            else stages.exclude(status__in=Stage.ACTIVE)
        )
    if query.kind is not None:
        stages = stages.filter(kind=query.kind.replace("\0", ""))
    return page_of(stages, query, shown_stage)


@router.get("/projects/{project_id}/stages/{stage_id}", response=StageOut)
def read_stage(request: MemberRequest, project_id: Id, stage_id: Id) -> Any:
    """How far a job is."""
    project = project_of_member(request, project_id, role=Role.VIEWER)
    return shown_stage(stage_of(project, stage_id))


def _steer(request: MemberRequest, project_id: int, stage_id: int, word: str) -> dict[str, Any]:
    project = project_of_member(request, project_id, role=Role.OWNER)
    return shown_stage(steer(stage_of(project, stage_id), word, user=request.user))


@router.post("/projects/{project_id}/stages/{stage_id}/pause", response=StageOut)
def pause_stage(request: MemberRequest, project_id: Id, stage_id: Id) -> Any:
    """Pause a job: at once if it waits, after its current batch if it runs."""
    return _steer(request, project_id, stage_id, "pause")


@router.post("/projects/{project_id}/stages/{stage_id}/resume", response=StageOut)
def resume_stage(request: MemberRequest, project_id: Id, stage_id: Id) -> Any:
    """Go on with a paused, cancelled or failed job; what is stored is not done, or paid, again."""
    return _steer(request, project_id, stage_id, "resume")


@router.post("/projects/{project_id}/stages/{stage_id}/cancel", response=StageOut)
def cancel_stage(request: MemberRequest, project_id: Id, stage_id: Id) -> Any:
    """Cancel a job. A cancelled import takes back its rows; other jobs keep what they finished."""
    return _steer(request, project_id, stage_id, "cancel")


# --- Start --------------------------------------------------------------------------------------------------------


class RoundOut(Schema):
    """A round. Shares are 0 to 1; null where the round did not come so far, or where there are no reference labels."""

    id: int
    number: int
    started_from: str
    created_at: datetime
    withdrawn_at: datetime | None
    stages: list[int]
    llm_accuracy: float | None = None
    slm_accuracy: float | None = None
    final_accuracy: float | None = None
    agreement: float | None = None
    clean_share: float | None = None
    flips: int | None = None
    tokens: int = 0
    cost: float | None = None
    seconds: float = 0.0


def _shown_round(iteration: Iteration) -> dict[str, Any]:
    names = ("number", "started_from", "created_at", "withdrawn_at")
    stages = list(iteration.stages.values_list("pk", flat=True))
    return {name: getattr(iteration, name) for name in names} | {"id": iteration.pk, "stages": stages}


@router.get("/projects/{project_id}/rounds", response=list[RoundOut])
def list_rounds(request: MemberRequest, project_id: Id) -> Any:
    """All rounds side by side, the oldest first."""
    project = project_of_member(request, project_id, role=Role.VIEWER)
    summaries = round_metrics.round_summaries(project)
    figures = RoundOut.model_fields.keys() & round_metrics.RoundSummary.__dataclass_fields__.keys()
    return [
        _shown_round(summary.iteration) | {name: getattr(summary, name) for name in figures}
        for summary in summaries
    ]


@router.post("/projects/{project_id}/rounds", response={201: RoundOut})
def begin_round(request: MemberRequest, project_id: Id, body: RoundBody) -> Any:  # type: ignore[valid-type]
    """Start a round: the first one, or the next. The LLM labels, or (from ``slm``) the small model trains on the labels that are there.
    ``connection``: the id of a further language model to ask."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    wanted = checked(RoundForm(posted(body), project=project)).cleaned_data
    asked = wanted["connection"] if wanted["started_from"] == Iteration.Start.LLM else None
    iteration = start_round.start_round(
        project,
        started_from=wanted["started_from"],
        user=request.user,
        ask_all=wanted["ask_all"],
        connection=asked,
    )
    activity.record_round(iteration, user=request.user)
    return Status(201, _shown_round(iteration))


@router.post("/projects/{project_id}/rounds/{round_id}/restore", response={202: StageOut})
def restore(request: MemberRequest, project_id: Id, round_id: Id) -> Any:
    """Put a round's labels in force. What people corrected stays."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    iteration = get_object_or_404(Iteration, project=project, pk=round_id)
    return Status(202, shown_stage(restore_round.start_restore(iteration, user=request.user)))


@router.post("/projects/{project_id}/filtering", response={202: StageOut})
def start_filtering(request: MemberRequest, project_id: Id) -> Any:
    """Train the small model of the newest round, where that does not begin by itself."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    return Status(202, shown_stage(begin_filtering(project, user=request.user)))


class TrialOut(Schema):
    """The newest trial: rows with the LLM's answers, and what the whole corpus is forecast to take."""

    stage: StageOut
    rows: list[dict[str, Any]]
    estimate: dict[str, Any] | None


@router.post("/projects/{project_id}/trial", response={202: StageOut})
def start_trial(request: MemberRequest, project_id: Id) -> Any:
    """Ask the LLM about a few rows; their labels are not saved."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    stage = start_try_out.start_trial(project, user=request.user)
    activity.record_stage(stage, user=request.user)
    return Status(202, shown_stage(stage))


@router.get("/projects/{project_id}/trial", response=TrialOut)
def read_trial(request: MemberRequest, project_id: Id) -> Any:
    project = project_of_member(request, project_id, role=Role.OWNER)
    stage = project.stages.filter(kind=kinds.TRIAL.key).first()
    detail = TrialDetail.of(stage_of(project, stage.pk if stage else 0))
    return {"stage": shown_stage(stage), "rows": detail.rows, "estimate": detail.estimate}  # type: ignore[arg-type]


class BudgetOut(Schema):
    price_in: float
    price_out: float
    budget_money: float
    budget_tokens: int


@router.put("/projects/{project_id}/budget", response=BudgetOut)
def set_budget(request: MemberRequest, project_id: Id, body: BudgetBody) -> Any:  # type: ignore[valid-type]
    """Set prices and budget, also while a run waits for them; resume the run afterwards."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    return change_budget(project, checked(BudgetForm(posted(body))), user=request.user)
