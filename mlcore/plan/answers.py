"""How many answers the target takes, and which: the riskiest rows first, then rows drawn at random until it is shown.

A correction of a risky row leaves fewer wrong rows, so the bet against "more wrong rows than allowed" wins sooner; a row drawn
at random is a bet. A row that will be asked anyway is no evidence worth having, so review comes first and the draws after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlcore.records import FloatArray, IntArray

LEARNING = 0.7  # log capital that bets lose until they know the rate. Not varied.
GRID = 60  # numbers of reviewed rows, and of drawn rows, that are compared
PRIOR_ERRORS = 3.0  # imagined wrong rows with which the models' risk is scaled by the drawn rows. Not varied.


@dataclass(frozen=True, slots=True)
class AnswerPlan:
    """Rows to review in the order of risk, rows to draw after that, and the wrong rows expected to be open then."""

    review: int
    draw: int
    wrong_left: float

    @property
    def total(self) -> int:
        return self.review + self.draw


def plan_answers(risk: FloatArray, allowed: float, bar: float) -> AnswerPlan:
    """The cheapest number of reviewed and drawn rows after which few enough wrong rows are shown.

    Args:
        risk: ``(M,)`` of the open rows, calibrated: its sum is the expected number of wrong rows.
        allowed: wrong rows that may stay open.
        bar: log capital that is lacking: of one over the error probability, less what earlier draws have won.
    """
    ordered = np.sort(risk)[::-1]
    reviewed = np.unique(np.linspace(0, len(ordered), GRID).astype(np.int64))
    left = float(ordered.sum()) - np.concatenate([[0.0], np.cumsum(ordered)])[reviewed]
    draws = draws_needed(len(ordered) - reviewed, left, allowed, bar + LEARNING)
    best = int((reviewed + draws).argmin())
    return AnswerPlan(int(reviewed[best]), int(draws[best]), float(left[best]))


def draws_needed(rows: IntArray, wrong: FloatArray, allowed: float, bar: float) -> IntArray:
    """Rows to draw evenly from ``rows (S,)`` with ``wrong (S,)`` among them until a bet is won; all where it never is.

    Each draw wins the divergence between the share of wrong rows and the share that there would be if one row more than
    allowed stayed open; what is drawn and wrong is mended, and does not stay open.
    """
    share = (wrong / np.maximum(rows, 1))[:, None]
    drawn = rows[:, None] * np.linspace(0.0, 1.0, GRID)  # (S, G)
    won = np.zeros(drawn.shape)
    width = (rows / (GRID - 1))[:, None]
    # Win of all draws up to n, if they end at n: the tested rate changes with the draws and with how many are mended.
    for end in range(1, GRID):
        before = drawn[:, :end]
        rate = (allowed + 1.0 + share * (drawn[:, end : end + 1] - before)) / np.maximum(
            rows[:, None] - before, 1.0
        )
        won[:, end] = (divergence(share, np.clip(rate, share, 1.0 - 1e-9)) * width).sum(axis=1)
    enough = won >= bar
    index = np.where(enough.any(axis=1), enough.argmax(axis=1), GRID - 1)
    # Between two points of the grid, in proportion to what is won.
    lines = np.arange(len(rows))
    step = won[lines, index] - won[lines, np.maximum(index - 1, 0)]
    part = np.where(step > 0, (won[lines, index] - bar) / np.maximum(step, 1e-12), 0.0)
    need = np.ceil(drawn[lines, index] - np.clip(part, 0.0, 1.0) * width[:, 0] * enough.any(axis=1))
    return np.minimum(np.maximum(need, 0), rows).astype(np.int64)


def divergence(share: FloatArray, other: FloatArray) -> FloatArray:
    """Kullback-Leibler divergence of two shares, in nats."""
    share, other = np.clip(share, 1e-9, 1 - 1e-9), np.clip(other, 1e-9, 1 - 1e-9)
    return np.asarray(share * np.log(share / other) + (1 - share) * np.log((1 - share) / (1 - other)))


def simulate_wrong(
    risk: FloatArray, drawn_risk: float, drawn_wrong: int, rng: np.random.Generator, *, draws: int = 400
) -> FloatArray:
    """Wrong rows ``(draws,)`` among rows of this risk, given what drawn rows say of how far the risk is off.

    Args:
        drawn_risk, drawn_wrong: of answered rows drawn at random, the sum of their risk and how many were wrong.
    """
    scale = rng.gamma(PRIOR_ERRORS + drawn_wrong, 1.0 / (PRIOR_ERRORS + drawn_risk), draws)
    return np.asarray(np.minimum(rng.poisson(scale * risk.sum()), len(risk)), dtype=np.float64)
