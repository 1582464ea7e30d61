from __future__ import annotations

import numpy as np
import pytest

from mlcore.plan.betting import Draws, bound_wrong, log_capital

ALPHA = 0.05


def draws_without_forecast(
    weight: np.ndarray, most: np.ndarray, opened: np.ndarray, known: np.ndarray
) -> Draws:
    unknown = np.full(len(weight), np.nan)
    return Draws(weight, most, opened, known, unknown, unknown)


def uniform_draws(wrong: np.ndarray, pool: int) -> Draws:
    """Draws of a pool, from the drawn rows' outcomes ``(n,)`` in order."""
    opened = pool - np.arange(len(wrong))
    known = np.concatenate([[0], np.cumsum(wrong)[:-1]]).astype(int) if len(wrong) else np.zeros(0, int)
    return draws_without_forecast(wrong * opened.astype(float), opened.astype(float), opened, known)


def weighted_draws(wrong: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Draws:
    """All rows of a pool, drawn one after the other in proportion to their weights, a third of it evenly."""
    rows, chances, least = list(range(len(wrong))), list[float](), list[float]()
    order = list[int]()
    while rows:
        share = weights[rows] / weights[rows].sum() * 2 / 3 + 1 / 3 / len(rows)
        index = int(rng.choice(len(rows), p=share))
        chances.append(share[index])
        least.append(share.min())
        order.append(rows.pop(index))
    drawn = wrong[order]
    known = np.concatenate([[0], np.cumsum(drawn)[:-1]]).astype(int)
    opened = len(wrong) - np.arange(len(wrong))
    return draws_without_forecast(drawn / np.array(chances), 1.0 / np.array(least), opened, known)


def test_without_draws_nothing_is_known() -> None:
    assert bound_wrong(uniform_draws(np.zeros(0, int), 50), 0, 50, ALPHA) == (0, 50)


def test_a_pool_that_was_asked_completely_has_no_wrong_row_left() -> None:
    assert bound_wrong(uniform_draws(np.array([1, 0, 1]), 3), 2, 0, ALPHA) == (0, 0)


def test_the_first_bet_is_the_ratio_of_two_likelihoods() -> None:
    # Pool of 10, 4 wrong: bets on a rate of 0.2 against 0.4, so a right row multiplies the capital by 0.8 / 0.6.
    capital = log_capital(uniform_draws(np.array([0]), 10), np.array([4]), 1)
    assert capital == pytest.approx(np.log(0.8 / 0.6))


def test_one_more_wrong_row_than_there_is_room_for_is_impossible() -> None:
    assert bound_wrong(uniform_draws(np.array([0, 0, 0]), 4), 0, 1, ALPHA)[1] <= 1
    assert np.isinf(log_capital(uniform_draws(np.array([0]), 4), np.array([5]), 1))


@pytest.mark.parametrize(("wrong", "expected"), [(0, (0, 14)), (1, (480, 500))])
def test_sixty_rows_that_all_agree_leave_few_others(wrong: int, expected: tuple[int, int]) -> None:
    low, high = bound_wrong(uniform_draws(np.full(200, wrong), 700), 200 * wrong, 500, ALPHA)
    assert expected[0] <= low <= high <= expected[1]


@pytest.mark.parametrize(("pool", "wrong"), [(60, 6), (400, 20), (400, 120)])
def test_bounds_hold_at_all_times_together(pool: int, wrong: int) -> None:
    """The truth is tested with all draws, so a bound that missed it at any time counts, as if people stopped just then."""
    rng, missed = np.random.default_rng(1), np.zeros(2)
    runs = 600
    truth = np.arange(pool) < wrong
    for _ in range(runs):
        draws = uniform_draws(rng.permutation(truth).astype(int), pool)
        for index, side in enumerate((1, -1)):
            missed[index] += log_capital(draws, np.array([wrong]), side)[0] >= np.log(1.0 / ALPHA)
    assert (missed / runs <= ALPHA + 2 * np.sqrt(ALPHA / runs)).all()


def test_bounds_hold_at_all_times_where_risky_rows_are_drawn_more_often() -> None:
    rng, missed, runs = np.random.default_rng(2), np.zeros(2), 300
    truth = (np.arange(80) < 12).astype(int)
    for _ in range(runs):
        weights = np.where(rng.random(80) < 0.3, 1 - truth, truth) * 5.0 + 0.5
        draws = weighted_draws(truth, weights, rng)
        for index, side in enumerate((1, -1)):
            missed[index] += log_capital(draws, np.array([12]), side)[0] >= np.log(1.0 / ALPHA)
    assert (missed / runs <= ALPHA + 2 * np.sqrt(ALPHA / runs)).all()


def test_a_forecast_that_is_too_high_is_refuted_with_few_rows() -> None:
    rng = np.random.default_rng(3)
    rows = rng.permutation(np.arange(2_000) < 40).astype(int)
    _low, high = bound_wrong(uniform_draws(rows[:300], 2_000), int(rows[:300].sum()), 1_700, ALPHA)
    assert high < 0.05 * 1_700
