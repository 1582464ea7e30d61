"""The goal on its page, in the wizard, and in the bar on top of every page."""

from __future__ import annotations

import pytest

from annotation.jobs import kinds
from annotation.jobs.work import run_stage, work_on
from annotation.models import Correction, Goal, Stage
from annotation.pipeline.measure import draw_sample
from annotation.pipeline.measure.draw_for_certificate import draw_for_certificate
from annotation.pipeline.project.goal import goal_of, set_goal
from annotation.pipeline.review import corrections
from tests.support.audited import answer_all
from tests.support.pages import Cast, judge_rows, make_cast, one_line

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast(rows=60)


def run_plan(cast: Cast) -> Stage:
    stage = cast.project.stages.get(kind=kinds.PLAN.key)
    run_stage(stage.pk)
    stage.refresh_from_db()
    assert stage.status == Stage.Status.DONE, stage.error
    return stage


def bar(cast: Cast, role: str = "owner") -> str:
    html = one_line(cast.client(role).get(cast.url("review/")).content.decode())
    return html.partition('id="goal"')[2].partition("<main")[0]


def test_the_wizard_starts_with_the_usual_goal(cast: Cast) -> None:
    assert cast.client("owner").post(cast.url("configure/start/")).status_code == 302
    goal = Goal.objects.get()
    assert (goal.target, goal.confidence, goal.money, goal.autopilot) == (0.95, 0.95, None, False)


def test_a_goal_that_makes_no_sense_starts_nothing(cast: Cast) -> None:
    answer = cast.client("owner").post(cast.url("configure/start/"), {"target": "120"})
    assert answer.status_code == 400
    assert not cast.project.iterations.exists()


def test_a_change_is_kept_with_who_and_what(cast: Cast) -> None:
    set_goal(cast.project, user=cast.project.owner)
    form = {"target": "97.5", "confidence": "95", "minutes": "40", "autopilot": "on"}
    assert cast.client("owner").post(cast.url("goal/change/"), form).status_code == 302
    goal = goal_of(cast.project)
    assert goal
    assert (goal.target, goal.minutes, goal.autopilot) == (0.975, 40, True)
    html = one_line(cast.client("viewer").get(cast.url("goal/")).content.decode())
    assert "target: 0.95 → 0.975" in html
    assert "minutes: – → 40" in html


def test_saving_the_same_goal_again_changes_nothing(cast: Cast) -> None:
    set_goal(cast.project, user=cast.project.owner, minutes=5)
    set_goal(cast.project, user=cast.project.owner, minutes=5)
    assert cast.project.goals.count() == 1


def test_a_time_that_has_passed_is_refused(cast: Cast) -> None:
    answer = cast.client("owner").post(cast.url("goal/change/"), {"until": "2020-01-01T10:00"})
    assert "This time has passed." in answer.content.decode()
    assert not cast.project.goals.exists()


def test_a_cost_without_prices_is_refused(cast: Cast) -> None:
    cast.project.llm_settings = cast.project.llm_settings | {"kind": "hub"}
    cast.project.save()
    answer = cast.client("owner").post(cast.url("goal/change/"), {"money": "5"})
    assert "Enter the prices under Models first" in answer.content.decode()


def test_a_project_without_a_goal_has_no_bar_and_no_plan(cast: Cast) -> None:
    judge_rows(cast.project)
    assert "hidden" in bar(cast)  # an empty place, which a goal that somebody sets on another page fills
    assert "goal-now" not in bar(cast)
    assert not cast.project.stages.filter(kind=kinds.PLAN.key).exists()


def test_the_bar_tells_what_was_measured_and_what_is_left(cast: Cast) -> None:
    judge_rows(cast.project)
    set_goal(cast.project, user=cast.project.owner, minutes=30, money=2.0)
    draw_for_certificate(cast.project, rows=20, user=cast.project.owner, seed=0)
    assert "20 rows wait for an answer" in bar(cast)
    assert "Answer them" in bar(cast)
    assert "Answer them" not in bar(cast, "viewer")
    answer_all(cast.project)
    run_plan(cast)
    html = bar(cast)
    assert "right (" in html
    assert "Target 95" in html
    assert "minutes left 30" in html
    assert "cost left 2.00" in html


def test_the_last_answer_has_the_plan_made_anew(cast: Cast) -> None:
    judge_rows(cast.project)
    set_goal(cast.project, user=cast.project.owner)
    assert run_plan(cast).done == 1
    draw_sample.draw_sample(cast.project, rows=3, user=cast.project.owner, seed=0)
    *most, last = draw_sample.pending_draws(cast.project, cast.project.owner)
    for sample in most:
        answer(cast, sample.pk)
    plan = cast.project.stages.get(kind=kinds.PLAN.key)
    assert plan.status == Stage.Status.DONE, "not at once while rows wait"
    answer(cast, last.pk)
    plan.refresh_from_db()
    assert plan.status == Stage.Status.QUEUED
    assert run_plan(cast).done == 2


def answer(cast: Cast, sample_id: int) -> None:
    label_id = cast.project.samples.get(pk=sample_id).reference_id
    corrections.correct_sample(
        sample_id, label_id=label_id, user=cast.project.owner, because=Correction.Because.AUDIT
    )


def test_what_happens_while_a_plan_is_made_has_it_made_once_more(cast: Cast) -> None:
    set_goal(cast.project, user=cast.project.owner)
    plan = cast.project.stages.get(kind=kinds.PLAN.key)
    with work_on(plan.pk) as job:
        assert job
        job.progress.report(done=job.stage.total, force=True)
        set_goal(cast.project, user=cast.project.owner, minutes=9)
    plan.refresh_from_db()
    assert (plan.status, plan.total, plan.done) == (Stage.Status.QUEUED, 2, 1)
