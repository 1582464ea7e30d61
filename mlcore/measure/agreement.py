"""Agreement between people and models, and whether one round beats another beyond chance."""

from __future__ import annotations

from math import comb

import numpy as np

from mlcore.records import NO_LABEL, BoolArray, IntArray


def cohen_kappa(first: IntArray, second: IntArray, count: int) -> float | None:
    """Cohen's kappa of two raters over rows ``(N,)`` that both labelled; None without any, or if both know one label only."""
    both = (first != NO_LABEL) & (second != NO_LABEL)
    if not both.any():
        return None
    table = np.zeros((count, count))
    np.add.at(table, (first[both], second[both]), 1.0)
    table /= table.sum()
    chance = float(table.sum(axis=1) @ table.sum(axis=0))
    return None if chance >= 1.0 else float((np.trace(table) - chance) / (1.0 - chance))


def krippendorff_alpha(ratings: IntArray, count: int) -> float | None:
    """Krippendorff's alpha for nominal labels.

    Args:
        ratings: ``(R, N)``, one line a rater, ``NO_LABEL`` where the rater said nothing.
        count: number of labels.

    Returns:
        1 for full agreement, 0 for that of chance; None where no row has two ratings or only one label was ever used.
    """
    votes = np.stack([(ratings == label).sum(axis=0) for label in range(count)], axis=1)  # (N, K)
    raters = votes.sum(axis=1)
    votes, raters = votes[raters >= 2].astype(float), raters[raters >= 2].astype(float)
    total = float(raters.sum())
    totals = votes.sum(axis=0)
    expected = total**2 - float(np.square(totals).sum())
    if not expected:
        return None
    disagree = float(((raters**2 - np.square(votes).sum(axis=1)) / (raters - 1.0)).sum())
    return 1.0 - (total - 1.0) * disagree / expected


def paired_test(before: BoolArray, after: BoolArray) -> tuple[int, int, float]:
    """McNemar's exact test on the same rows ``(N,)``: whether each was right before and is right after.

    Returns:
        Rows that became right, rows that became wrong, and the two-sided probability of a difference at least that
        large if both were equally good.
    """
    better, worse = int((after & ~before).sum()), int((before & ~after).sum())
    changed = better + worse
    tail = sum(comb(changed, each) for each in range(min(better, worse) + 1))
    return better, worse, min(1.0, 2.0 * tail / 2**changed)
