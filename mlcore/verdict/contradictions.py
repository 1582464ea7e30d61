"""How often the LLM is wrong where the small models contradict it, estimated without checked rows.

Three opinions are compared: the LLM's, a model's on the encoder's features, and one's on other features (n-grams, or
trees on a table). Rows that are hard for the small models make both err alone about as often as together. So if they
contradict the LLM together no more often than each does alone, the LLM is the better one; what they contradict together
beyond that are its errors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mlcore.corpus import NoisyLabels
from mlcore.records import NO_LABEL, BoolArray, FloatArray, IntArray
from mlcore.verdict import constants


@dataclass(frozen=True)
class Contradictions:
    """``together``: row numbers on which both small models name the same label and the LLM another. ``llm_wrong``: the
    estimated share of them in which the LLM is wrong, ``least_wrong`` the same less one standard error.
    ``slm_right``: the estimated accuracy of both small models pooled, over all rows."""

    together: IntArray
    llm_wrong: float
    least_wrong: float
    slm_right: float

    def with_stated(self, stated: FloatArray) -> Contradictions:
        """The same with what the LLM itself states of its error ``(N,)`` taken as a second estimate, over ``together``.

        Where it states a higher error, that one holds; where a lower one, the mean of both. Nothing changes where it states
        an error (no NaN) of half of these rows or fewer.
        """
        here = stated[self.together]
        here = here[np.isfinite(here)]
        if 2 * len(here) <= len(self.together):
            return self
        own = within_bounds(here.mean())
        wrong, least = (max(own, (own + value) / 2) for value in (self.llm_wrong, self.least_wrong))
        return replace(self, llm_wrong=wrong, least_wrong=least)


def count_contradictions(
    encoder: IntArray, other: IntArray, given: IntArray, counted: BoolArray, count: int
) -> Contradictions:
    """Estimate how often the LLM is wrong where two small models contradict it together.

    With a = P(encoder = other != llm), q the mean of P(encoder = llm != other) and P(other = llm != encoder), and the
    small models wrong together as often as each alone (q), the LLM's error rate is (a - q) / (1 - 4 q), and it is wrong
    in (1 - q / a) (1 - 3 q) / (1 - 4 q) of a. The standard error takes the counts as Poisson's.

    Args:
        encoder: ``(N,)``, labels by the model on the encoder's features.
        other: ``(N,)``, labels by the model on other features.
        given: ``(N,)``, the LLM's labels.
        counted: ``(N,)``, the rows to count.
        count: number of labels, K.
    """
    together = np.flatnonzero(counted & (encoder == other) & (encoder != given))
    only_encoder = int((counted & (encoder != given) & (other == given)).sum())
    only_other = int((counted & (other != given) & (encoder == given)).sum())
    alone = (only_encoder + only_other) / 2
    q = alone / max(int(counted.sum()), 1)
    slm_right = float(
        np.clip(1.0 - constants.POOLED_ERROR * q, constants.least_right(count), constants.MOST_RIGHT)
    )
    both = len(together)
    if both == 0:
        return Contradictions(together, constants.LEAST_WRONG, constants.LEAST_WRONG, slm_right)
    correction = min((1 - 3 * q) / max(1 - 4 * q, 0.15), 2.5)
    estimate = (1 - alone / both) * correction * both / (both + constants.PRIOR_ROWS)
    error = correction * float(np.sqrt(alone / 2 + alone**2 / both)) / both
    return Contradictions(together, within_bounds(estimate), within_bounds(estimate - error), slm_right)


def within_bounds(wrong: float) -> float:
    return float(np.clip(wrong, constants.LEAST_WRONG, constants.MOST_WRONG))


def stated_error(noisy: NoisyLabels) -> FloatArray:
    """Probability ``(N,)`` that the LLM's label is wrong by its own distribution; NaN where it gave none."""
    error = np.full(len(noisy.given), np.nan)
    if noisy.probs is not None:
        rows = np.flatnonzero(noisy.given != NO_LABEL)
        error[rows] = 1.0 - noisy.probs[rows, noisy.given[rows]]
    return error
