"""The plan: which step comes next, who begins it, and what came of it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import Q
from django.utils import timezone

from annotation.jobs import kinds
from annotation.jobs.details import PlanDetail
from annotation.jobs.work import run_stage
from annotation.models import Correction, Goal, Prediction, Project, Stage
from annotation.pipeline.measure import draw_sample
from annotation.pipeline.measure.draw_for_certificate import drawn_rows
from annotation.pipeline.plan import run_plan as planning
from annotation.pipeline.plan.carry_out import carry_out, step_of
from annotation.pipeline.project.goal import set_goal
from annotation.pipeline.review import corrections
from mlcore.messages import Message
from mlcore.plan.records import Forecast, Range, Step
from tests.support.audited import answer_all
from tests.support.factories import make_project
from tests.support.pages import judge_rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    """The models are right on every row, and hardly doubt it; the small model was trained."""
    project = make_project(rows=120)
    judge_rows(project)
    # Otherwise their doubt alone decides whether forty right answers are enough.
    project.samples.update(risk=0.02)
    Prediction.objects.update(risk=0.02)
    return project


def plan(project: Project, **goal: Any) -> PlanDetail:
    set_goal(project, user=project.owner, **goal)
    for update in project.stages.active().filter(kind=kinds.UPDATE.key):
        run_stage(update.pk)  # the plan waits for it
    Stage.objects.filter(project=project, kind=kinds.PLAN.key).update(status=Stage.Status.QUEUED)
    stage = project.stages.get(kind=kinds.PLAN.key)
    run_stage(stage.pk)
    stage.refresh_from_db()
    assert stage.status == Stage.Status.DONE, stage.error
    return PlanDetail.of(stage)


def begin(project: Project, now: PlanDetail) -> None:
    carry_out(project, step_of(now.step), user=project.owner, minutes=now.minutes)


def answer_as_risky(project: Project) -> None:
    """The labels of risky rows are wrong, all others right."""
    for sample in draw_sample.pending_draws(project, project.owner):
        assert sample.risk is not None
        label = project.labels.get(~Q(pk=sample.label_id) if sample.risk > 0.5 else Q(pk=sample.label_id))
        corrections.correct_sample(
            sample.pk, label_id=label.pk, user=project.owner, because=Correction.Because.AUDIT
        )


def test_a_project_that_was_not_started_is_labelled_first() -> None:
    step = plan(make_project(rows=20)).step
    assert (step["kind"], step["amount"]) == ("label", 20)


def test_where_the_model_costs_something_a_few_rows_are_tried_first() -> None:
    project = make_project(rows=20)
    project.llm_settings |= {"kind": "hub"}
    project.save()
    assert plan(project).step["kind"] == "try"


def test_random_rows_come_first(project: Project) -> None:
    step = plan(project).step
    assert (step["kind"], step["amount"]) == ("measure", 40)
    low, high = step["forecast"]["accuracy"]["low"], step["forecast"]["accuracy"]["high"]
    assert 0.0 <= low < high <= 1.0


def test_right_answers_lead_to_the_certificate(project: Project) -> None:
    for _round in range(5):
        now = plan(project)
        if now.step["kind"] == "stop":
            break
        begin(project, now)
        answer_all(project)
    assert now.step["kind"] == "stop"
    assert now.now
    assert now.now[1] >= 0.95
    assert now.answered < 120, "not every row has to be asked"
    begin(project, now)
    certificate = project.stages.get(kind=kinds.CERTIFICATE.key)
    run_stage(certificate.pk)
    assert plan(project).step == {}


def test_wrong_answers_lead_to_training_and_then_to_more_answers(project: Project) -> None:
    project.samples.filter(position__lt=48).update(risk=0.8)
    begin(project, plan(project))
    answer_as_risky(project)
    assert plan(project).step["kind"] == "train"
    Stage.objects.filter(kind=kinds.SLM.key).update(started_at=timezone.now())
    assert plan(project).step["kind"] in {"measure", "review"}, "which saves more hangs on the rows drawn"


def test_nothing_is_decided_while_rows_wait(project: Project) -> None:
    begin(project, plan(project))
    assert plan(project).step == {}


def test_without_minutes_it_says_what_more_would_bring(project: Project) -> None:
    step = plan(project, minutes=1).step
    assert step["kind"] == "stop"
    assert "People's minutes are spent" in str(Message.of(step["reason"]))


def test_the_autopilot_asks_people_by_itself_and_waits(project: Project) -> None:
    now = plan(project, autopilot=True)
    assert now.step == {}
    assert drawn_rows(project).count() == 40
    step = project.plan_steps.get()
    assert (step.kind, step.by_autopilot, step.ended_at) == ("measure", True, None)
    plan(project, autopilot=True)
    assert project.plan_steps.count() == 1


def test_the_autopilot_goes_on_to_the_certificate_as_answers_come(project: Project) -> None:
    for _round in range(8):
        plan(project, autopilot=True)
        if project.stages.filter(kind=kinds.CERTIFICATE.key).exists():
            break
        answer_all(project)
    run_stage(project.stages.get(kind=kinds.CERTIFICATE.key).pk)
    count = project.plan_steps.count()
    plan(project, autopilot=True)
    assert project.plan_steps.count() == count, "it stops at the certificate"


def test_the_outcome_stands_beside_the_forecast(project: Project) -> None:
    begin(project, plan(project))
    answer_all(project)
    plan(project)
    step = project.plan_steps.get()
    assert step.ended_at
    assert step.outcome
    assert step.outcome["accuracy"] == 1.0
    assert step.forecast["accuracy"]["low"] < 1.0


def test_what_costs_more_than_a_tenth_of_the_budget_asks_first(project: Project) -> None:
    money, nothing = Range(2.0, 1.0, 3.0), Range(0.0, 0.0, 0.0)
    step = Step("label", 120, Message("Because."), Forecast(nothing, money, nothing, nothing))
    assert planning.needs_yes(project, Goal(money=19.0), step)
    assert not planning.needs_yes(project, Goal(money=20.0), step)
    assert not planning.needs_yes(project, Goal(), step)


def test_after_a_failed_run_the_autopilot_waits_for_a_person(project: Project) -> None:
    Stage.objects.create(project=project, kind=kinds.SLM.key, exclusive_group="corpus", status="failed")
    now = plan(project, autopilot=True)
    assert now.asks_first
    assert not project.plan_steps.exists()


def test_what_is_in_the_autopilots_way_is_said() -> None:
    project = make_project(rows=5)
    now = plan(project, autopilot=True)
    assert "needs at least 10" in str(Message.of(now.obstacle))
    assert now.step["kind"] == "label"
    assert not project.plan_steps.exists()
