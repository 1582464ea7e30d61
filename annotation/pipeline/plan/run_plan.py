"""The plan's stage: gather what is known now, and store what the pages show of it."""

from __future__ import annotations

from annotation.jobs.details import PlanDetail
from annotation.jobs.work import Job
from annotation.models import Correction, Project
from annotation.pipeline.measure.accuracy import FEW_ROWS, Evidence
from annotation.pipeline.project.goal import spent
from annotation.pipeline.review.throughput import throughput_of


def run_plan(job: Job[PlanDetail]) -> None:
    """Make the plan anew. What happens meanwhile has it made once more, see :func:`annotation.jobs.state.replan`."""
    seen = job.stage.total
    job.progress.report(detail=current_state(job.stage.project), done=seen, force=True)


def current_state(project: Project) -> PlanDetail:
    """Where the project stands: its measured accuracy, and what was spent."""
    evidence = Evidence.read(project)
    answered = len(evidence.answered)
    accuracy = evidence.accuracy if answered >= FEW_ROWS else None
    tokens, money = spent(project)
    answers = Correction.objects.standing().filter(sample__project=project, seconds__isnull=False)
    return PlanDetail(
        now=[accuracy.value, accuracy.low, accuracy.high] if accuracy else None,
        answered=answered,
        tokens=tokens,
        money=money,
        minutes=throughput_of(answers.order_by()).seconds / 60,
    )
