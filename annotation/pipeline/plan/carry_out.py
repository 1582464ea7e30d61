"""Begin a step of the plan: as an ordinary stage where models work, as drawn rows where people are asked."""

from __future__ import annotations

import secrets
from dataclasses import asdict

from django.contrib.auth.models import User
from django.db import transaction

from annotation.jobs import kinds, state
from annotation.jobs.details import Json, UpdateDetail
from annotation.models import Connection, Iteration, PlanStep, Project, Stage
from annotation.pipeline.distill.start_distillation import start_filtering
from annotation.pipeline.iterate.start_round import start_round
from annotation.pipeline.label.start_try_out import start_comparison, start_trial
from annotation.pipeline.measure.certify import start_certificate
from annotation.pipeline.measure.draw_for_certificate import draw_for_certificate
from annotation.pipeline.project.activity import record_round
from mlcore.messages import Message
from mlcore.plan.records import Forecast, Range, Step

#: The step that only people can begin: correct the riskiest rows.
BY_PEOPLE = ("review",)


def carry_out(
    project: Project, step: Step, *, user: User | None, minutes: float, by_autopilot: bool = False
) -> PlanStep:
    """Begin a step and write down what was forecast of it.

    Args:
        minutes: of people's time spent before it.

    Raises:
        AnnotationError: it can't begin now; the sentence says why.
    """
    with transaction.atomic():
        stage, rows = _begin(project, step, user)
        return PlanStep.objects.create(
            project=project,
            kind=step.kind,
            stage=stage,
            rows=rows,
            forecast=asdict(step.forecast) | {"minutes_before": minutes},
            started_by=user,
            by_autopilot=by_autopilot,
        )


def _begin(project: Project, step: Step, user: User | None) -> tuple[Stage | None, int]:
    """The stage that does the work, or None where people do; and how many rows it is about."""
    if step.kind == "try":
        return start_trial(project, user=user), step.amount
    if step.kind == "label":
        return _start_round(project, Iteration.Start.LLM, user), step.amount
    if step.kind == "train":
        latest = project.latest_iteration()
        if latest and not latest.stages.filter(kind=Iteration.Start.SLM).exists():
            return start_filtering(latest, user=user), step.amount
        return _start_round(project, Iteration.Start.SLM, user), step.amount
    if step.kind == "refine":
        return state.create_stage(
            project, kinds.UPDATE, user=user, detail=UpdateDetail(renew=True)
        ), step.amount
    if step.kind in ("compare", "relabel"):
        connection = project.connections.get(pk=step.connection)
        if step.kind == "compare":
            return start_comparison(project, user=user, connection=connection), step.amount
        return _start_round(project, Iteration.Start.LLM, user, connection), step.amount
    if step.kind == "measure":
        seed, evenly = secrets.randbits(64), step.reason.code == "plan_random_first"
        return None, draw_for_certificate(project, rows=step.amount, user=user, seed=seed, evenly=evenly)
    if step.kind == "stop":
        return start_certificate(project, user=user), step.amount
    return None, step.amount


def _start_round(
    project: Project, start: str, user: User | None, connection: Connection | None = None
) -> Stage:
    iteration = start_round(project, started_from=start, user=user, connection=connection)
    if user:
        record_round(iteration, user=user)
    return iteration.stages.get()


def step_as_json(step: Step) -> Json:
    return asdict(step) | {"reason": step.reason.as_json()}


def step_of(stored: Json) -> Step:
    """The step that a plan stored."""
    ranges = {name: Range(**value) for name, value in stored["forecast"].items()}
    return Step(**stored | {"reason": Message.of(stored["reason"]), "forecast": Forecast(**ranges)})
