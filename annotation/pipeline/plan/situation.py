"""What is known of a project when its plan is made, gathered for :func:`mlcore.plan.choose.choose_step`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from annotation.jobs import kinds
from annotation.jobs.details import ComparisonDetail, PlanDetail, TrialDetail, UpdateDetail
from annotation.models import Goal, Project, Stage
from annotation.pipeline.label.start_try_out import decides_trial
from annotation.pipeline.measure.annotations import blind_answers
from annotation.pipeline.measure.certificate import CertifiedFile, as_goal
from annotation.pipeline.measure.certify import changed_since, newest_certificate
from annotation.pipeline.measure.draw_for_certificate import evidence_began
from annotation.pipeline.measure.draw_sample import open_draws
from mlcore.plan.certificate import could_pass
from mlcore.plan.choose import AT_RISK
from mlcore.plan.records import OtherModel, Range, Situation
from mlcore.records import NO_LABEL

SECONDS_AN_ANSWER = 8.0  # before people's own pace is known
PAST_STEPS = 30  # newest, from which forecasts learn

#: The groups of stages that the goal bar names while they are at work.
AT_WORK = (
    kinds.CORPUS,
    kinds.TRIAL.exclusive_group,
    kinds.CERTIFICATE.exclusive_group,
    kinds.COMPARISON.exclusive_group,
)
#: Those that the plan waits for.
AWAITED = (*AT_WORK, kinds.UPDATE.exclusive_group)


def is_waiting(project: Project, goal: Goal, now: PlanDetail) -> bool:
    """Whether nothing is to be chosen: a stage is at work, or people are asked and the target is not shown yet."""
    if project.stages.active().filter(exclusive_group__in=AWAITED).exists():
        return True
    shown = now.now is not None and now.now[1] >= goal.target
    return not shown and open_draws(project).exists()


def read_situation(project: Project, goal: Goal, file: CertifiedFile, now: PlanDetail) -> Situation:
    """All that the next step depends on."""
    evidence = file.evidence
    covered = ~evidence.settled & ~evidence.uncovered
    drawn = [each for each in evidence.answers if each.chance is not None and each.label != NO_LABEL]
    update = _newest_update(project)
    drawn_risk = sum(float(evidence.risk[each.row]) for each in drawn)
    bound = None
    if now.now and drawn:
        wrong = (1.0 - now.now[1]) * len(evidence.labels) - int(evidence.uncovered.sum())
        bound = min(max(int(np.ceil(wrong - 1e-6)), 0), int(covered.sum()))
    most = [1.0 / (each.least or each.chance) for each in evidence.answers if each.chance]
    passable = could_pass(most, len(evidence.labels), as_goal(goal), evidence.attempt)
    made = newest_certificate(project)
    cost = _label_cost(project)
    return Situation(
        goal=as_goal(goal),
        rows=len(evidence.labels),
        risk=evidence.risk[covered],
        lost=int(evidence.uncovered.sum()) if project.iterations.exists() else 0,
        stage=_stage(project),
        learned=_learned(project),
        answered=len(blind_answers(project)),
        drawn_risk=update.drawn_risk if update and update.drawn_risk else drawn_risk,
        drawn_wrong=sum(each.label != each.asked for each in drawn),
        bound=bound,
        attempt=evidence.attempt,
        next_attempt=evidence.attempt + passable,
        renewal=update.renewal if update else 0.0,
        minutes_an_answer=now.minutes / now.timed if now.timed else SECONDS_AN_ANSWER / 60,
        minutes=None if goal.minutes is None else goal.minutes - now.minutes,
        money=None if goal.money is None else goal.money - now.money,
        label_cost=cost,
        others=tuple(_other_models(project, file)),
        past=tuple(_past(project)),
        is_certified=made is not None and not changed_since(project, made),
    )


def _stage(project: Project) -> Literal["new", "tried", "labelled", "trained"]:
    if project.iterations.judged().exists():
        return "trained"
    if project.iterations.exists():
        return "labelled"
    free = project.llm_config.kind == "local"
    return "tried" if free or _trial(project).asked_with == decides_trial(project) else "new"


def _trial(project: Project) -> TrialDetail:
    trial = project.stages.filter(kind=kinds.TRIAL.key, status=Stage.Status.DONE).first()
    return TrialDetail.of(trial) if trial else TrialDetail()


def _label_cost(project: Project) -> Range | None:
    span = (_trial(project).estimate or {}).get("money")
    return Range(span["middle"], span["low"], span["high"]) if span else None


def _newest_update(project: Project) -> UpdateDetail | None:
    """Of the labels as they are."""
    began = evidence_began(project)
    updates = project.stages.filter(kind=kinds.UPDATE.key, status=Stage.Status.DONE)
    newest = updates.filter(started_at__gt=began).first() if began else None
    return UpdateDetail.of(newest) if newest else None


def _learned(project: Project) -> bool:
    """Whether the small model has been trained since people began to answer."""
    first = project.audit_draws.order_by("id").values_list("drawn_at", flat=True).first()
    trained = project.stages.filter(kind=kinds.SLM.key, status=Stage.Status.DONE).first()
    return bool(first and trained and trained.started_at and trained.started_at > first)


def _other_models(project: Project, file: CertifiedFile) -> Iterator[OtherModel]:
    """The project's further LLMs, with what they said of answered rows at risk."""
    connections = list(project.connections.all())
    if not connections:
        return
    done = project.stages.filter(kind=kinds.COMPARISON.key, status=Stage.Status.DONE).order_by("pk")
    newest = {detail.connection: detail for detail in map(ComparisonDetail.of, done)}
    truth = {str(row): answer.label_id for row, answer in blind_answers(project).items()}
    risk = {
        str(file.pks[each.row]): (float(file.evidence.risk[each.row]), each.asked)
        for each in file.evidence.answers
    }
    for connection in connections:
        detail = newest.get(connection.pk)
        if detail is None:
            yield OtherModel(connection.pk, connection.name)
            continue
        rows = [row for row in detail.answers if row in truth and risk.get(row, (0.0, 0))[0] > AT_RISK]
        cost = detail.cost(*detail.answer_tokens)
        yield OtherModel(
            connection.pk,
            connection.name,
            rows=max(len(rows), 1),
            right=sum(detail.answers[row] == truth[row] for row in rows),
            file_right=sum(_id(file, risk[row][1]) == truth[row] for row in rows),
            price=None if cost is None else cost / max(len(detail.answers), 1),
        )


def _id(file: CertifiedFile, label: int) -> int | None:
    return None if label == NO_LABEL else file.label_ids[label]


def _past(project: Project) -> Iterator[tuple[Range, float]]:
    """Forecasts of the file's accuracy, beside what was measured after the step."""
    for step in project.plan_steps.filter(outcome__isnull=False)[:PAST_STEPS]:
        came, told = (step.outcome or {}).get("accuracy"), step.forecast["accuracy"]
        if came is not None and told["high"] > told["low"]:
            yield Range(**told), came
