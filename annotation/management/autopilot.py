"""See a project's plan through in a command: stages, and, for tests, benches and the demo, a scripted person.

The scripted person answers from the uploaded reference labels. That is the one place where these labels are more than a
measure, and every command that does so says it.
"""

from __future__ import annotations

import time
from pathlib import Path
from uuid import uuid4

from django.core.management.base import CommandError

from annotation.jobs import state
from annotation.jobs.details import CertificateDetail, PlanDetail
from annotation.jobs.kinds import PLAN
from annotation.jobs.work import run_stage
from annotation.management.console import POLL_SECONDS, complete, store_file
from annotation.messages import message_text
from annotation.models import Correction, Project, Sample, Stage
from annotation.pipeline.distill.start_new_rows import start_new_rows
from annotation.pipeline.ingest.column_roles import ColumnRoles
from annotation.pipeline.ingest.reference_labels import match_references
from annotation.pipeline.ingest.start_import import start_import
from annotation.pipeline.measure.certify import newest_certificate
from annotation.pipeline.measure.draw_sample import pending_draws
from annotation.pipeline.measure.statement_words import part_sentence, statement_sentence
from annotation.pipeline.plan.carry_out import carry_out, step_of
from annotation.pipeline.plan.situation import AWAITED
from annotation.pipeline.review import corrections

ANSWERS_AT_ONCE = 10  # by the scripted person, before the plan looks whether the target is shown


def follow_plan(project: Project, *, from_reference: bool, here: bool = True) -> PlanDetail:
    """Go on until the plan has no step left that can be done here; return it.

    Args:
        from_reference: let the scripted person answer; otherwise it ends where people are needed.
        here: do the stages' work in this process, see :func:`annotation.management.console.complete`.

    Raises:
        CommandError: a stage failed.
    """
    while True:
        now = _make_plan(project, here=here)
        at_work = project.stages.active().filter(exclusive_group__in=AWAITED).first()
        if at_work:
            complete(at_work, here=here)
        elif from_reference and (waiting := list(pending_draws(project, project.owner))):
            for sample in waiting[:ANSWERS_AT_ONCE]:
                _answer(project, sample, Correction.Because.AUDIT)
        elif from_reference and now.step.get("kind") == "review":
            carry_out(project, step_of(now.step), user=project.owner, minutes=now.minutes)
            riskiest = project.samples.unchecked().order_by("queue_rank")[: now.step["amount"]]
            for sample in riskiest:
                _answer(project, sample, Correction.Because.QUEUE)
        else:
            return now


def label_new_file(project: Project, path: Path) -> None:
    """Import a file with the project's columns, and let the kept model label its rows.

    Raises:
        CommandError: a stage failed.
        AnnotationError: the file does not fit, or has no new row.
    """
    upload = store_file(project, path, project.owner)
    complete(start_import(project, upload, ColumnRoles.of(project), user=project.owner))
    match_references(project)
    complete(start_new_rows(project, user=project.owner))


def certificate_words(project: Project) -> str:
    """What the newest certificate says; empty where none was made."""
    made = newest_certificate(project)
    if made is None:
        return ""
    statement = CertificateDetail.of(made).statement
    return f"{statement_sentence(statement)}\n{part_sentence(statement)}"


def waiting_words(project: Project, now: PlanDetail) -> str:
    """Why the plan waits, and where to go on in the browser; empty where it does not wait."""
    rows = pending_draws(project, project.owner).count()
    if rows:
        return (
            f"{rows} rows wait for an answer. Start the program (coral up) and open "
            f"{project.get_absolute_url()}focus/?only=random; the plan goes on as answers come in."
        )
    if not now.step:
        return ""
    why = message_text(now.obstacle or now.step["reason"])
    return f"The next step waits for a person: {why} Start the program (coral up) and open {project.get_absolute_url()}goal/."


def _make_plan(project: Project, *, here: bool) -> PlanDetail:
    state.replan(project.pk)
    plan = project.stages.get(kind=PLAN.key)
    while plan.status in (Stage.Status.QUEUED, Stage.Status.RUNNING):
        if here:
            run_stage(plan.pk)
        else:
            time.sleep(POLL_SECONDS)
        plan.refresh_from_db()
    if plan.status == Stage.Status.FAILED:
        raise CommandError(f"The plan could not be made: {message_text(plan.error)}")
    return PlanDetail.of(plan)


def _answer(project: Project, sample: Sample, because: str) -> None:
    if sample.reference_id is None:
        raise CommandError(
            f"Row {sample.number} has no reference label, so the scripted person can't answer it."
        )
    corrections.correct_sample(
        sample.pk, label_id=sample.reference_id, user=project.owner, because=because, answer_id=uuid4()
    )
