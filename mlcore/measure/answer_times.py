"""What a draw's answers stand for when people decided rows otherwise before, between and after them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime


def share_left(drawn: int, answered_at: Sequence[datetime], lost_at: Sequence[datetime]) -> float:
    """The share of a stratum that its answered rows stand for: rows not yet decided otherwise when they were answered.

    The survival curve of the drawn rows (Kaplan and Meier 1958), at the answers' times, averaged over them.

    Args:
        drawn: rows drawn in the stratum.
        answered_at, lost_at: when rows were answered blind, and when they were decided otherwise before that.
    """
    left, waiting, total = 1.0, drawn, 0.0
    for _at, is_answer in sorted([(at, True) for at in answered_at] + [(at, False) for at in lost_at]):
        if is_answer:
            total += left
        else:
            left *= 1.0 - 1.0 / waiting
        waiting -= 1
    return total / len(answered_at) if answered_at else left


def share_answered_by(at: datetime, answered_at: Sequence[datetime]) -> float:
    """The share of a draw's answers, sorted by time, that had been given by then: they tell of the file as it was before."""
    return bisect_right(answered_at, at) / len(answered_at) if answered_at else 0.0
