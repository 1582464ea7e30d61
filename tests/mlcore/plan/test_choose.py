"""Which step comes next, and what is expected of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from mlcore.plan.choose import asks_first, choose_step, offers
from mlcore.plan.course import Profile, draw_course
from mlcore.plan.outlook import Lesson
from mlcore.plan.records import Goal, Limits, OtherModel, Range, Situation

RISK = np.random.default_rng(0).beta(0.3, 10.0, 2_000)  # about 3 % wrong
BAD = np.random.default_rng(0).beta(0.5, 3.0, 2_000)  # about 14 %
GOOD_FILE = Situation(Goal(), 2_000, RISK, learned=True, answered=40, drawn_risk=1.2, drawn_wrong=1)
BAD_FILE = replace(GOOD_FILE, risk=BAD, drawn_risk=5.6, drawn_wrong=6)


def kind(situation: Situation) -> str:
    step, _ = choose_step(situation)
    assert step
    return step.kind


def test_a_project_goes_from_a_trial_to_labels_to_training_to_random_rows() -> None:
    stages: tuple[Literal["new", "tried", "labelled", "trained"], ...] = (
        "new",
        "tried",
        "labelled",
        "trained",
    )
    situations = [replace(GOOD_FILE, stage=stage, answered=0) for stage in stages]
    assert [kind(situation) for situation in situations] == ["try", "label", "train", "measure"]


def test_a_good_file_is_measured_and_a_bad_one_reviewed() -> None:
    assert kind(GOOD_FILE) == "measure"
    assert kind(BAD_FILE) == "review"


def test_models_learn_from_the_answers_before_people_do_more() -> None:
    assert kind(replace(BAD_FILE, learned=False)) == "train"


def test_new_labels_are_taken_over_where_they_save_answers() -> None:
    assert kind(replace(BAD_FILE, renewal=120.0)) == "refine"
    assert kind(replace(BAD_FILE, renewal=0.5)) == "review"
    late = replace(GOOD_FILE, bound=110, renewal=5.0, next_attempt=2)
    assert kind(late) != "refine", "the evidence would be lost"


def test_it_stops_when_the_target_is_shown_and_once_more_only_if_the_file_changed() -> None:
    shown = replace(GOOD_FILE, bound=100)
    assert kind(shown) == "stop"
    assert choose_step(replace(shown, is_certified=True))[0] is None


def test_another_model_is_asked_first_about_answered_rows() -> None:
    step, _ = choose_step(replace(BAD_FILE, others=(OtherModel(7, "Larger"),)))
    assert step
    assert (step.kind, step.connection) == ("compare", 7)


@pytest.mark.parametrize(("right", "expected"), [(25, "relabel"), (16, "review")])
def test_another_model_relabels_only_if_it_is_better_by_more_than_chance(right: int, expected: str) -> None:
    other = OtherModel(7, "Larger", rows=30, right=right, file_right=14, price=0.01)
    assert kind(replace(BAD_FILE, others=(other,))) == expected


def test_what_the_limits_do_not_reach_is_said_before_they_are_spent() -> None:
    step, _ = choose_step(replace(BAD_FILE, minutes=20.0))
    assert step
    assert not step.within_limits
    assert step.reason.code == "plan_out_of_reach"
    assert step.reason.params["most"] == 150
    assert asks_first(step, Limits(minutes=20.0))


def test_where_the_money_is_too_little_for_all_rows_the_share_that_it_pays_is_said() -> None:
    step, _ = choose_step(replace(GOOD_FILE, stage="tried", label_cost=Range(2.0, 1.5, 2.5), money=1.0))
    assert step
    assert (step.kind, step.within_limits) == ("label", False)
    assert (step.reason.code, step.reason.params) == ("plan_label_dear", {"percent": 40})


def test_without_minutes_it_ends() -> None:
    assert kind(replace(BAD_FILE, minutes=0.5)) == "stop"


def test_a_step_asks_first_for_a_tenth_of_the_money_or_the_minutes() -> None:
    cost = Range(2.0, 1.0, 3.0)
    step, _ = choose_step(replace(GOOD_FILE, stage="tried", label_cost=cost))
    assert step
    assert asks_first(step, Limits(money=19.0))
    assert not asks_first(step, Limits(money=20.0))
    people, _ = choose_step(GOOD_FILE)
    assert people
    assert asks_first(people, Limits(minutes=30.0))
    limited = replace(GOOD_FILE, goal=Goal(limits=Limits(minutes=200.0)), minutes=190.0)
    people, _ = choose_step(limited)
    assert people
    assert not asks_first(people, Limits(minutes=200.0)), "it asks for fewer rows instead"


def test_more_evidence_means_fewer_answers() -> None:
    _, before = choose_step(GOOD_FILE)
    _, after = choose_step(replace(GOOD_FILE, bound=120))
    assert after.needed.value < before.needed.value


def test_an_hour_shows_more_than_now_and_money_only_where_a_better_model_is_known() -> None:
    _, outlook = choose_step(GOOD_FILE)
    (hour,) = offers(outlook)
    assert (hour.unit, hour.answers) == ("hour", 450)
    assert outlook.offer(0, "hour", 0.0).shown.value < hour.shown.value < hour.accuracy.value
    other = OtherModel(7, "Larger", rows=30, right=25, file_right=14, price=0.01)
    _, outlook = choose_step(replace(BAD_FILE, others=(other,)))
    assert [offer.unit for offer in offers(outlook)] == ["hour", "money"]


def test_forecasts_that_were_off_move_and_widen_the_next() -> None:
    told = Range(0.90, 0.88, 0.92)
    right, wrong = ([(told, came)] * 6 for came in (0.90, 0.97))
    assert Lesson.of(right).apply(told).high <= told.high
    learned = Lesson.of(wrong)
    assert (learned.inside, learned.seen) == (0, 6)
    moved = learned.apply(told)
    assert moved.value > 0.93
    assert moved.high - moved.low > told.high - told.low


def test_a_course_needs_about_as_many_draws_as_a_bet_between_two_rates() -> None:
    course = draw_course(Profile.of(np.full(20_000, 0.01)), np.log(20.0))
    divergence = 0.01 * np.log(0.01 / 0.05) + 0.99 * np.log(0.99 / 0.95)
    assert course.needed(1_000.0) == pytest.approx(np.log(20.0) / divergence, rel=0.25)


def test_reviewed_rows_are_mended_and_are_no_evidence() -> None:
    course = draw_course(Profile.of(BAD), np.log(20.0), review=400.0)
    left, bound = course.at(200.0)
    assert left < BAD.sum() - 60
    assert bound == pytest.approx(1_800.0)


def test_a_file_of_which_nothing_may_be_wrong_is_asked_completely() -> None:
    course = draw_course(Profile.of(np.full(30, 0.5)), np.log(20.0))
    assert course.needed(0.0) == 30
