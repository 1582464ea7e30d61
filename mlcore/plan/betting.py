"""How many rows of a finite pool are wrong: bounds that hold however often one looks and whenever one stops.

Rows are drawn one after the other, without replacement, each with a known probability. For each number ``w`` of wrong rows
that the pool may have had in the beginning, a gambler bets against it; where ``w`` is the truth, the capital is a
nonnegative martingale, which reaches ``1 / alpha`` with probability at most ``alpha`` at any time (Ville's inequality).
Numbers with less capital are the confidence sequence. Method: Waudby-Smith and Ramdas, Estimating means of bounded random
variables by betting, JRSS B 86 (2024), section 5; without replacement and with importance weights as in Waudby-Smith and
Ramdas, Confidence sequences for sampling without replacement, NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlcore.records import BoolArray, FloatArray, IntArray

CANDIDATES = 200  # numbers of wrong rows that are tested at once
# Imagined rows with which a bet begins, and, where no forecast was stored with the draws, the share of the tested number that
# they speak for. Pools of 1,000 rows, 2 to 7 % of them wrong, tested against 5 and 10 %: 10 to 50 rows and shares of 0.3 to 0.7
# differ by a seventh at most.
PRIOR_ROWS, PRIOR_RATIO = 50.0, 0.5
MOST_STAKE = 0.99  # of the capital, on one row
PRIOR_ERRORS = 3.0  # imagined wrong rows, as the forecast had them, beside those drawn. As in outlook.py.


@dataclass(frozen=True, slots=True)
class Draws:
    """Rows drawn from one pool, in their order.

    Attributes:
        weight: ``(n,)``, one over the probability of the drawn row; 0 where the row is right or not of the pool.
        most: ``(n,)``, the largest weight that any row of the pool could have had.
        open: ``(n,)``, rows of the pool that were open before the draw.
        known: ``(n,)``, rows of the pool known to be wrong before the draw, and no longer open.
        expected, spread: ``(n,)``, mean and variance of the weight as they were forecast before the draw; NaN if they were not.
    """

    weight: FloatArray
    most: FloatArray
    open: IntArray
    known: IntArray
    expected: FloatArray
    spread: FloatArray

    def __len__(self) -> int:
        return len(self.weight)


def bound_wrong(draws: Draws, known: int, open_rows: int, alpha: float) -> tuple[int, int]:
    """Lower and upper bound of the wrong rows among those still open, each with error probability ``alpha`` at any time.

    Args:
        known: rows of the pool known to be wrong by now, and no longer open.
        open_rows: rows of it that are open now.
    """
    if not open_rows:
        return 0, 0
    bar = np.log(1.0 / alpha)
    high = _last_kept(lambda left: log_capital(draws, known + left, 1) < bar, open_rows)
    fewest_right = _last_kept(lambda left: log_capital(draws, known + open_rows - left, -1) < bar, open_rows)
    return open_rows - fewest_right, high


def _last_kept(kept: Callable[[IntArray], BoolArray], most: int) -> int:
    """The largest number up to ``most`` that is kept, 0 if none is: on a coarse grid, then between its points.

    Capital is a likelihood ratio, which grows with the distance from what the draws say, so what is kept is an interval.
    """
    first, last = 0, most
    while last > first:
        grid = np.unique(np.linspace(first, last, CANDIDATES).astype(np.int64))
        index = np.flatnonzero(kept(grid))
        if not len(index) or index[-1] == len(grid) - 1:
            return int(grid[-1]) if len(index) else first
        first, last = int(grid[index[-1]]), int(grid[index[-1] + 1]) - 1
    return first


def log_capital(draws: Draws, total: IntArray, side: int) -> FloatArray:
    """The largest log capital so far ``(W,)`` of bets against ``total (W,)`` wrong rows in the pool in the beginning.

    ``side`` 1 bets on fewer wrong rows, -1 on more.
    """
    if not len(draws):
        return np.zeros(len(total))
    left = total - draws.known[:, None]  # (n, W): wrong rows open before the draw, if there were so many
    belief, spread = believe(draws, left, side)
    gap = left - belief
    # The largest expected log capital: to the second order by the forecast; exactly where a weight is 0 or the largest.
    evenly = np.maximum(left * (draws.most[:, None] - left), 1e-9)
    stake = gap / np.where(np.isfinite(spread), spread + gap**2, evenly)
    if side > 0:
        stake = np.clip(stake, 0.0, MOST_STAKE / np.maximum(draws.most[:, None] - left, 1e-9))
    else:
        stake = np.clip(stake, -MOST_STAKE / np.maximum(left, 1e-9), 0.0)
    growth = np.log(np.maximum(1.0 + stake * (left - draws.weight[:, None]), 1e-300))
    growth[(left < 0) | (left > draws.open[:, None])] = np.inf
    return np.asarray(np.maximum(np.cumsum(growth, axis=0).max(axis=0), 0.0))


def believe(draws: Draws, left: IntArray, side: int) -> tuple[FloatArray, FloatArray]:
    """The mean of each weight ``(n, W)`` and its variance ``(n, 1)``, from the forecast and the draws before it; a variance is
    NaN where nothing was forecast."""
    count = PRIOR_ROWS + np.arange(len(draws))
    known = np.isfinite(draws.expected)
    ratio = draws.weight / np.where(known, np.maximum(draws.expected, 1e-9), draws.open)
    seen = np.cumsum(ratio) - ratio
    # The factor of the forecast, from the wrong rows that even draws would have found by it.
    told = np.where(known, draws.expected, 0.0) / draws.open
    wrong = told * ratio
    scale = (PRIOR_ERRORS + np.cumsum(wrong) - wrong) / (PRIOR_ERRORS + np.cumsum(told) - told)
    prior = left * (PRIOR_RATIO if side > 0 else 1.0 / PRIOR_RATIO)
    by_draws = (PRIOR_ROWS * prior + (seen * draws.open)[:, None]) / count[:, None]
    belief = np.where(known[:, None], (scale * draws.expected)[:, None], by_draws)
    return np.clip(belief, 0.0, draws.most[:, None]), (scale * np.maximum(draws.spread, 1e-9))[:, None]
