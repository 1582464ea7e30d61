"""What comes out: the measured accuracy, the goal and the plan, and the certificate."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils import timezone
from ninja import Router, Schema, Status

from annotation.api.access import Id
from annotation.api.bodies import body_of, checked, posted
from annotation.api.steps import StageOut, shown_stage
from annotation.errors import NotReadyError
from annotation.forms.goal import LIMITS, GoalForm, percent
from annotation.jobs import kinds
from annotation.jobs.details import PlanDetail
from annotation.jobs.state import replan
from annotation.live.goal_status import GoalBar, goal_bar
from annotation.messages import message_text
from annotation.models import Goal, Project, Role
from annotation.pipeline.measure import advice, certify
from annotation.pipeline.measure.accuracy import FEW_ROWS, Evidence
from annotation.pipeline.measure.statement_words import part_sentence, statement_sentence
from annotation.pipeline.project.goal import goal_of
from annotation.views.access import MemberRequest, project_of_member
from annotation.views.plan.certificate import statement_of
from annotation.views.plan.goal import begin_next_step, store_goal
from mlcore.measure.estimate import Interval

router = Router(tags=["results"])

GoalBody = body_of(GoalForm, "GoalBody", partial=True)


class Range(Schema):
    value: float
    low: float
    high: float


def shown_interval(interval: Interval | None) -> dict[str, float] | None:
    if interval is None:
        return None
    return {"value": interval.value, "low": interval.low, "high": interval.high}


# --- Accuracy -----------------------------------------------------------------------------------------------------


class AccuracyOut(Schema):
    """What random rows tell of the file. ``accuracy`` is null until ``few`` of them are answered."""

    accuracy: Range | None
    wrong_left: Range | None
    answered: int
    pending: int
    few: int
    can_draw: int
    advice: str


@router.get("/projects/{project_id}/accuracy", response=AccuracyOut)
def read_accuracy(request: MemberRequest, project_id: Id) -> Any:
    evidence = Evidence.read(project_of_member(request, project_id, role=Role.VIEWER))
    enough = len(evidence.answered) >= FEW_ROWS
    forecast = advice.forecast(evidence) if enough else None
    return {
        "accuracy": shown_interval(evidence.accuracy) if enough else None,
        "wrong_left": shown_interval(evidence.wrong_left) if enough else None,
        "answered": len(evidence.answered),
        "pending": evidence.pending,
        "few": FEW_ROWS,
        "can_draw": evidence.rows_to_draw,
        "advice": forecast.sentence if forecast else "",
    }


# --- Goal and plan ------------------------------------------------------------------------------------------------


class GoalOut(Schema):
    """``target`` and ``confidence`` in percent; a limit that is null is none. The webhook is told to owners."""

    target: float
    confidence: float
    money: float | None
    tokens: int | None
    minutes: int | None
    until: datetime | None
    webhook: str
    autopilot: bool


class StepOut(Schema):
    """``kind``: try, label, train, measure, review, relabel or stop."""

    kind: str
    rows: int
    words: str
    reason: str
    forecast: dict[str, Any]
    asks_first: bool
    can_begin: bool


class PlanOut(Schema):
    """Where the project stands against its goal. ``at_work``: the job that the plan waits for. ``waiting_rows``: drawn rows that wait
    for an answer. ``left`` is what remains of each limit. ``is_planning``: something happened that the plan does not know yet."""

    goal: GoalOut
    accuracy: Range | None
    answered: int
    reached: bool
    certified: bool
    next_step: StepOut | None
    at_work: int | None
    waiting_rows: int
    obstacle: str
    left: dict[str, float | None]
    is_planning: bool


def _shown_goal(goal: Goal, role: str) -> dict[str, Any]:
    own = {name: getattr(goal, name) for name in (*LIMITS, "autopilot")}
    shares = {"target": percent(goal.target), "confidence": percent(goal.confidence)}
    return own | shares | ({} if role == Role.OWNER else {"webhook": ""})


def _shown_step(bar: GoalBar, plan: PlanDetail) -> dict[str, Any] | None:
    step = plan.step
    return (
        step
        and {
            "kind": step["kind"],
            "rows": step["amount"],
            "words": bar.step_words,
            "reason": message_text(step["reason"]),
            "forecast": step["forecast"],
            "asks_first": plan.asks_first,
            "can_begin": bool(bar.step_words) and bar.can_begin,
        }
    ) or None


def _shown_plan(bar: GoalBar) -> dict[str, Any]:
    plan, left = bar.plan, bar.left
    return {
        "goal": _shown_goal(bar.goal, bar.role),
        "accuracy": dict(zip(("value", "low", "high"), plan.now, strict=True)) if plan.now else None,
        "answered": plan.answered,
        "reached": bar.reached,
        "certified": bar.certified,
        "next_step": _shown_step(bar, plan),
        "at_work": bar.at_work and bar.at_work.pk,
        "waiting_rows": bar.waiting_rows,
        "obstacle": message_text(plan.obstacle),
        "is_planning": bar.project.stages.active().filter(kind=kinds.PLAN.key).exists(),
        "left": {name: getattr(left, name) for name in ("money", "tokens", "minutes", "seconds")},
    }


def _bar(project: Project, role: Role) -> GoalBar:
    bar = goal_bar(project, role)
    if bar is None:
        raise NotReadyError("No goal is set yet. An owner of the project can set one.")
    return bar


@router.get("/projects/{project_id}/goal", response=PlanOut)
def read_plan(request: MemberRequest, project_id: Id) -> Any:
    """The goal, and what the plan says of it."""
    project = project_of_member(request, project_id, role=Role.VIEWER)
    return _shown_plan(_bar(project, request.role))


@router.put("/projects/{project_id}/goal", response=PlanOut)
def set_goal(request: MemberRequest, project_id: Id, body: GoalBody) -> Any:  # type: ignore[valid-type]
    """Set the goal; what is not given stays, and null takes a limit away."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    goal = goal_of(project) or Goal()
    stored = _shown_goal(goal, Role.OWNER)
    if goal.until:
        stored["until"] = timezone.localtime(goal.until).strftime("%Y-%m-%d %H:%M:%S.%f")
    store_goal(project, checked(GoalForm(posted(body, **stored), project=project)), user=request.user)
    return _shown_plan(_bar(project, request.role))


class BegunStep(Schema):
    """``stage``: the job that does the step; null where people do it."""

    kind: str
    rows: int
    stage: int | None


@router.post("/projects/{project_id}/goal/step", response={202: BegunStep})
def begin_step(request: MemberRequest, project_id: Id) -> Any:
    """Begin the step that the plan names."""
    project = project_of_member(request, project_id, role=Role.REVIEWER)
    begun = begin_next_step(project, request.role, user=request.user)
    return Status(202, {"kind": begun.kind, "rows": begun.rows, "stage": begun.stage_id})


@router.post("/projects/{project_id}/goal/plan", response={202: None})
def plan_anew(request: MemberRequest, project_id: Id) -> Any:
    """Have the plan made anew, with all answers that are there now; by itself it is not made more often than every 20 seconds."""
    replan(project_of_member(request, project_id, role=Role.REVIEWER).pk)
    return Status(202, None)


# --- Certificate --------------------------------------------------------------------------------------------------


class CertificateOut(Schema):
    """``sentence``: how many labels are right, at least. ``part``: the largest part of the file that reaches the target. ``changed``:
    whether the file was changed since."""

    sentence: str
    part: str
    made_at: datetime | None
    changed: bool
    statement: dict[str, Any]


@router.post("/projects/{project_id}/certificate", response={202: StageOut})
def make_certificate(request: MemberRequest, project_id: Id) -> Any:
    project = project_of_member(request, project_id, role=Role.REVIEWER)
    return Status(202, shown_stage(certify.start_certificate(project, user=request.user)))


@router.get("/projects/{project_id}/certificate", response=CertificateOut)
def read_certificate(request: MemberRequest, project_id: Id) -> Any:
    """The newest certificate."""
    project = project_of_member(request, project_id, role=Role.VIEWER)
    made, statement = statement_of(project)
    changed = certify.changed_since(project, made)
    return {
        "sentence": statement_sentence(statement),
        "part": part_sentence(statement),
        "made_at": made.finished_at,
        "changed": changed,
        "statement": statement,
    }
