"""The plan's stage: gather what is known now, choose the next step, and, on autopilot, begin it."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace

from django.db import transaction
from django.utils import timezone

from annotation.errors import AnnotationError
from annotation.jobs import kinds
from annotation.jobs.details import PlanDetail
from annotation.jobs.state import tell_webhooks
from annotation.jobs.work import Job
from annotation.messages import message_text
from annotation.models import Correction, Goal, Project, Stage
from annotation.pipeline.measure.certificate import CertifiedFile, as_goal
from annotation.pipeline.measure.certify import newest_certificate
from annotation.pipeline.measure.draw_sample import open_draws
from annotation.pipeline.plan.carry_out import BY_PEOPLE, carry_out, step_as_json
from annotation.pipeline.plan.outcomes import end_steps
from annotation.pipeline.plan.situation import is_waiting, read_situation
from annotation.pipeline.project.goal import goal_of, spent
from annotation.pipeline.review.throughput import throughput_of
from mlcore.errors import EngineError
from mlcore.plan.certificate import bound_accuracy
from mlcore.plan.choose import asks_first, choose_step, offers
from mlcore.plan.records import Step

logger = logging.getLogger(__name__)


def run_plan(job: Job[PlanDetail]) -> None:
    """Make the plan anew. What happens meanwhile has it made once more, see :func:`annotation.jobs.state.replan`."""
    seen, project = job.stage.total, job.stage.project
    goal = goal_of(project)
    assert goal
    file = CertifiedFile.read(project, risk_now=True)
    now = current_state(project, goal, file)
    end_steps(project, now)
    step, outlook = choose_step(read_situation(project, goal, file, now))
    now = replace(now, lesson=asdict(outlook.lesson))
    if step and not is_waiting(project, goal, now):
        now = replace(now, step=step_as_json(step), asks_first=needs_yes(project, goal, step))
        if step.kind in ("measure", "review"):
            now = replace(now, offers=[asdict(offer) for offer in offers(outlook)])
        if goal.autopilot and not now.asks_first:
            now = _begin(job, project, goal, step, now)
    now = _tell(project, goal, now, told=job.progress.detail.told)
    job.progress.report(detail=now, done=seen, force=True)


def _tell(project: Project, goal: Goal, now: PlanDetail, *, told: str) -> PlanDetail:
    """Tell the webhooks where the state is another one than they were told last."""
    state = state_to_tell(project, now)
    if state and state != told:
        facts = {
            "state": state,
            "rows": open_draws(project).count(),
            "reason": message_text(now.obstacle or now.step.get("reason", "")),
            "accuracy": now.now,
        }
        tell_webhooks(project, state, facts, also=goal.webhook)
    return replace(now, told=state)


def state_to_tell(project: Project, now: PlanDetail) -> str:
    """``people`` where the plan waits for somebody, ``certified`` where it came to its end; empty otherwise."""
    if open_draws(project).exists() or (now.step and now.asks_first) or now.obstacle:
        return "people"
    return "certified" if newest_certificate(project) and not now.step else ""


def current_state(project: Project, goal: Goal, file: CertifiedFile) -> PlanDetail:
    """Where the project stands: what is shown of its accuracy, and what was spent."""
    drawn = sum(answer.chance is not None and answer.at is not None for answer in file.evidence.answers)
    bound = bound_accuracy(file.evidence, file.evidence.labels == file.evidence.labels, as_goal(goal))
    tokens, money = spent(project)
    answers = Correction.objects.standing().filter(sample__project=project, seconds__isnull=False)
    pace = throughput_of(answers.order_by())
    return PlanDetail(
        now=[bound.estimate, bound.low, bound.high] if drawn else None,
        answered=drawn,
        tokens=tokens,
        money=money,
        minutes=pace.seconds / 60,
        timed=pace.answers,
    )


def needs_yes(project: Project, goal: Goal, step: Step) -> bool:
    """Whether a person is to say yes: the step takes much of the budget, its time is up, only people can do it, or the newest
    run failed or was cancelled."""
    if step.kind in BY_PEOPLE or (goal.until and goal.until <= timezone.now() and step.kind != "stop"):
        return True
    if asks_first(step, as_goal(goal).limits):
        return True
    newest = project.stages.filter(exclusive_group=kinds.CORPUS).first()
    return newest is not None and newest.status in (Stage.Status.FAILED, Stage.Status.CANCELLED)


def _begin(job: Job[PlanDetail], project: Project, goal: Goal, step: Step, now: PlanDetail) -> PlanDetail:
    """Begin the step for whoever switched the autopilot on; what is in its way is told."""
    try:
        with transaction.atomic():
            job.lease.fence()
            carry_out(project, step, user=goal.set_by, minutes=now.minutes, by_autopilot=True)
    except (AnnotationError, EngineError) as error:
        logger.warning("The autopilot can't go on: %s", error)
        return replace(now, obstacle=error.message.as_json())
    return replace(now, step={})
