"""How far the estimates behind a verdict may go: one that lies at its bound says no more than that. Loads nothing."""

from __future__ import annotations

LEAST_WRONG, MOST_WRONG = 0.02, 0.98  # of the LLM's labels, where the small models contradict it together
MOST_RIGHT = 0.995  # of the small models' joint opinion
MOST_WEIGHT = 12.0  # of the LLM's word, where the small models' is 1


def least_right(count: int) -> float:
    """The least accuracy that the small models are taken to have, with ``count`` labels: a little over chance."""
    return 1.0 / count + 0.05
