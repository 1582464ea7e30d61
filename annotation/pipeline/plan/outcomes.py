"""What came of the steps that were begun, beside what was forecast of them."""

from __future__ import annotations

from django.utils import timezone

from annotation.jobs.details import PlanDetail, stage_cost
from annotation.models import PlanStep, Project
from annotation.pipeline.measure.draw_sample import open_draws


def end_steps(project: Project, now: PlanDetail) -> None:
    """Close the steps that have come to their end, and store what came of them.

    A stage's step ends with the stage. One that asks people about drawn rows ends when none waits; another one that only people
    can do ends with the next step.
    """
    begun = list(project.plan_steps.filter(ended_at=None).select_related("stage"))
    for step in begun:
        if step.stage is not None:
            is_over = not step.stage.is_active
        elif step.kind == "measure":
            is_over = not open_draws(project).exists()
        else:
            is_over = step != begun[0]
        if is_over:
            _end(step, now)


def _end(step: PlanStep, now: PlanDetail) -> None:
    step.ended_at = timezone.now()
    step.outcome = {
        "accuracy": now.now and now.now[0],
        "money": stage_cost(step.stage) if step.stage else None,
        "minutes": max(0.0, now.minutes - step.forecast["minutes_before"]),
        "status": step.stage.status if step.stage else "done",
    }
    step.save(update_fields=["ended_at", "outcome"])
