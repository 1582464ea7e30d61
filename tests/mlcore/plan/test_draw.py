from __future__ import annotations

import numpy as np
import pytest

from mlcore.plan.draw import draw_by_risk


def test_all_rows_are_drawn_once_at_most() -> None:
    drawn = draw_by_risk(np.linspace(0.0, 0.9, 50), 80, np.random.default_rng(0))
    assert sorted(drawn.rows) == list(range(50))
    assert drawn.chance[-1] == pytest.approx(1.0)


def test_even_draws_have_the_chance_of_the_rows_then_open() -> None:
    drawn = draw_by_risk(np.linspace(0.0, 0.9, 30), 3, np.random.default_rng(0), even=1.0)
    assert drawn.chance == pytest.approx([1 / 30, 1 / 29, 1 / 28])
    assert drawn.least == pytest.approx(drawn.chance)


def test_one_over_the_chance_estimates_the_wrong_rows() -> None:
    rng = np.random.default_rng(1)
    risk = rng.beta(0.5, 3.0, 300)
    wrong = rng.random(300) < risk
    first = [draw_by_risk(risk, 1, rng) for _ in range(4_000)]
    estimates = [wrong[drawn.rows[0]] / drawn.chance[0] for drawn in first]
    assert np.mean(estimates) == pytest.approx(wrong.sum(), rel=0.06)
    assert np.var(estimates) < 0.7 * (len(risk) * wrong.sum() - wrong.sum() ** 2), "less than of even draws"


def test_what_is_forecast_is_of_the_rows_then_open() -> None:
    risk = np.repeat([0.02, 0.4], [80, 20])
    drawn = draw_by_risk(risk, 100, np.random.default_rng(2))
    left = risk.sum() - np.cumsum(risk[drawn.rows]) + risk[drawn.rows]
    assert drawn.expected == pytest.approx(left)
    assert (drawn.least <= drawn.chance).all()
    assert (drawn.spread >= drawn.expected).all()
