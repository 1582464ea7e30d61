"""What people see first: the flag of a row, the review queue, and the map of the features."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from mlcore.corpus import INCONSISTENT, LIKELY_RIGHT, LIKELY_WRONG
from mlcore.records import NO_LABEL, BoolArray, FloatArray, IntArray

# Highest risk of a row that is called right. It is shown wherever flags are. Not varied.
RISKY = 0.2
# Above it a row is called wrong even where the two models differ; with two labels no final label is over 0.5. Not varied.
EVEN_ODDS = 0.4
MOST_POINTS = 5_000  # on the map


def flag_rows(risk: FloatArray, given: IntArray, prediction: IntArray) -> IntArray:
    """Flags ``(N,)`` int8 that follow from the risk ``(N,)``: likely right up to ``RISKY``, and nowhere else.

    Above it a row is inconsistent where the LLM's label and the prediction differ, up to ``EVEN_ODDS``; else likely wrong.
    """
    differ = (given != NO_LABEL) & (given != prediction) & (risk <= EVEN_ODDS)
    return np.where(risk <= RISKY, LIKELY_RIGHT, np.where(differ, INCONSISTENT, LIKELY_WRONG)).astype(np.int8)


def review_order(risk: FloatArray, doubt: FloatArray, checked: BoolArray) -> IntArray:
    """The review queue: row numbers by falling risk ``(N,)``, equal risks by falling ``doubt (N,)``; checked rows last."""
    return np.lexsort((-doubt, -risk, checked))


def map_points(features: FloatArray) -> FloatArray:
    """A map ``(N, 2)``: the two main directions of the features, each scaled to unit deviation; NaN for rows beyond 5,000."""
    points = np.full((len(features), 2), np.nan)
    rows = np.arange(len(features))[:: max(1, -(-len(features) // MOST_POINTS))]
    values = np.nan_to_num(features[rows].astype(np.float32))
    centred = values - values.mean(axis=0)
    if centred.shape[1] < 2:
        centred = np.pad(centred, ((0, 0), (0, 2 - centred.shape[1])))
    with threadpool_limits(1):
        _, directions = np.linalg.eigh(centred.T.astype(np.float64) @ centred.astype(np.float64))
    axes = directions[:, [-1, -2]]
    # A sign that does not depend on chance.
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), [0, 1]] < 0, -1.0, 1.0)
    flat = centred @ axes
    points[rows] = flat / np.maximum(flat.std(axis=0), 1e-9)
    return points
