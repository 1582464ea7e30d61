from __future__ import annotations

import numpy as np
import pytest

from mlcore.plan.answers import draws_needed, plan_answers, simulate_wrong

BAR = float(np.log(20.0))


def test_a_good_file_needs_draws_and_no_review() -> None:
    plan = plan_answers(np.full(5_000, 0.01), 250.0, BAR)
    assert plan.review == 0
    assert 50 < plan.draw < 150


def test_a_bad_file_is_reviewed_first_where_its_risk_is_known() -> None:
    risk = np.where(np.arange(2_000) < 400, 0.8, 0.01)
    plan = plan_answers(risk, 100.0, BAR)
    assert 300 <= plan.review <= 480
    assert plan.wrong_left < 100
    assert plan.total < 700


def test_where_nothing_may_be_wrong_all_rows_are_asked() -> None:
    assert plan_answers(np.full(30, 0.5), -1.0, BAR).total == 30
    assert plan_answers(np.zeros(0), 5.0, BAR).total == 0


def test_what_earlier_draws_have_won_is_not_asked_again() -> None:
    risk = np.full(3_000, 0.02)
    assert plan_answers(risk, 150.0, 1.0).draw < plan_answers(risk, 150.0, BAR).draw


def test_draws_without_a_wrong_row_win_what_one_expects() -> None:
    # No wrong row among many, 5 % allowed: each draw wins -log(0.95), so about 59 of them win log(20).
    assert draws_needed(np.array([100_000]), np.zeros(1), 5_000.0, BAR)[0] == pytest.approx(59, abs=3)


def test_the_forecast_of_wrong_rows_follows_the_drawn_rows() -> None:
    rng = np.random.default_rng(0)
    risk = np.full(1_000, 0.1)
    as_told, twice = (simulate_wrong(risk, 20.0, wrong, rng) for wrong in (20, 40))
    assert as_told.mean() == pytest.approx(100, rel=0.05)
    assert twice.mean() == pytest.approx(100 * 43 / 23, rel=0.05)
    assert np.quantile(as_told, 0.05) < 80 < 120 < np.quantile(as_told, 0.95)
