"""How many more rows to check."""

from __future__ import annotations

import numpy as np
import pytest

from mlcore.measure.review_forecast import expected_errors, risk_curve, rows_to_remove

RISKS = np.sort(np.random.default_rng(0).random(1_000) ** 3)[::-1]
CURVE = risk_curve([float(risk) for risk in RISKS], 1_000)


def test_the_curve_has_about_a_hundred_points_and_ends_with_all_rows() -> None:
    assert len(CURVE["rows"]) == 101
    assert CURVE["rows"][-1] == 1_000
    assert CURVE["errors"][-1] == pytest.approx(RISKS.sum(), abs=0.01)
    assert risk_curve([0.5] * 7, 7)["errors"][-1] == 3.5


def test_the_whole_queue_holds_all_errors_that_are_left() -> None:
    assert expected_errors(CURVE, done=200, more=800, wrong_left=60) == pytest.approx(60)
    assert expected_errors(CURVE, done=1_000, more=10, wrong_left=60) == 0


def test_the_first_rows_hold_more_errors_than_later_ones() -> None:
    found = [expected_errors(CURVE, done=0, more=rows, wrong_left=100) for rows in (100, 400, 500)]
    assert found[0] > 2 * (found[2] - found[1]) > 0


def test_the_forecast_reaches_what_is_asked_and_no_more() -> None:
    rows = rows_to_remove(CURVE, done=50, remove=30, wrong_left=100)
    assert rows is not None
    assert expected_errors(CURVE, done=50, more=rows, wrong_left=100) >= 30
    assert expected_errors(CURVE, done=50, more=rows - 1, wrong_left=100) < 30
    assert rows_to_remove(CURVE, done=0, remove=0, wrong_left=100) == 0


def test_more_errors_than_are_left_are_never_found() -> None:
    assert rows_to_remove(CURVE, done=0, remove=101, wrong_left=100) is None
