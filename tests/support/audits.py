"""Simulated audits: how often the interval holds the truth."""

from __future__ import annotations

import numpy as np

from mlcore.measure.estimate import Draw, Interval, estimate_wrong
from mlcore.measure.sampling import allocate, make_strata, scarce_labels
from mlcore.records import BoolArray, FloatArray, IntArray

AUDITS = 1_000


def coverage(
    wrong: BoolArray, differ: BoolArray, risk: FloatArray, rows: int, *, label: IntArray | None = None
) -> tuple[float, float, float]:
    """Draw and check ``rows`` rows a thousand times; with ``label (N,)``, scarce labels get their floor of rows.

    Returns:
        The share of audits whose interval holds the number of wrong rows, the mean estimate of the error rate, and the
        mean width of the interval, both as shares of the file.
    """
    scarce = {}
    if label is not None:
        counts = np.bincount(label)
        scarce = scarce_labels(counts, np.zeros_like(counts), draws=rows)
    strata = make_strata(differ, risk, draws=rows, label=label, scarce=scarce)
    sizes = strata.sizes
    taken = allocate(sizes, np.bincount(strata.member, weights=risk) / sizes, rows, least=strata.least)
    errors = np.bincount(strata.member, weights=wrong).astype(int)
    rng = np.random.default_rng(rows)
    found = rng.hypergeometric(errors, sizes - errors, taken, size=(AUDITS, len(sizes)))
    seen: dict[tuple[int, ...], Interval] = {}
    results = []
    for audit in found.tolist():
        key = tuple(audit)
        if key not in seen:
            interval = estimate_wrong([Draw(sizes, taken, np.array(audit))], least=0, most=len(wrong))
            assert interval is not None
            seen[key] = interval
        results.append(seen[key])
    held = np.mean([result.low <= wrong.sum() <= result.high for result in results])
    mean = np.mean([result.value for result in results]) / len(wrong)
    width = np.mean([result.high - result.low for result in results]) / len(wrong)
    return float(held), float(mean), float(width)


def leave_errors(wrong: BoolArray, share: float) -> BoolArray:
    """The same file with only so many of its errors left."""
    errors = np.random.default_rng(1).permutation(np.flatnonzero(wrong))
    kept = np.zeros(len(wrong), dtype=bool)
    kept[errors[: round(share * len(wrong))]] = True
    return kept
