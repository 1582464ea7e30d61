"""What people see first: the flag of a row, the review queue, and the map of the features."""

from __future__ import annotations

from collections import Counter, deque

import numpy as np
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

from mlcore.corpus import INCONSISTENT, LIKELY_RIGHT, LIKELY_WRONG
from mlcore.records import NO_LABEL, BoolArray, FloatArray, IntArray

# Weight of a row's rank within its label against its rank among all rows. MR, SMS, AG News: 0.6 to 0.8 differ within
# chance; with 0 the first tenth of MR's queue holds 232 errors instead of 243.
WITHIN_LABEL = 0.7
# Highest risk of a row that is called right. It is shown wherever flags are. Not varied.
RISKY = 0.2
# Above it a row is called wrong even where the two models differ; with two labels no final label is over 0.5. Not varied.
EVEN_ODDS = 0.4
MOST_POINTS = 5_000  # on the map, and in the fit of the clusters
CLUSTERS = 20
BLOCK = 20  # rows of the queue in which one cluster may have at most this share
SHARE_PER_BLOCK = 0.25
LOOK_AHEAD = 5  # blocks among whose rows one block is chosen


def flag_rows(risk: FloatArray, given: IntArray, prediction: IntArray) -> IntArray:
    """Flags ``(N,)`` int8 that follow from the risk ``(N,)``: likely right up to ``RISKY``, and nowhere else.

    Above it a row is inconsistent where the LLM's label and the prediction differ, up to ``EVEN_ODDS``; else likely wrong.
    """
    differ = (given != NO_LABEL) & (given != prediction) & (risk <= EVEN_ODDS)
    return np.where(risk <= RISKY, LIKELY_RIGHT, np.where(differ, INCONSISTENT, LIKELY_WRONG)).astype(np.int8)


def review_priority(doubt: FloatArray, label: IntArray) -> FloatArray:
    """How early a row is reviewed ``(N,)``, 0 to 1: its rank by doubt, among all rows and among those of its label.

    Args:
        doubt: ``(N,)``, any measure that grows with the probability of the label being wrong.
        label: ``(N,)``, the final labels.
    """
    # How often a label as such is wrong shows in no contradiction (ChatGPT's "negative" on MR is wrong twice as often as
    # its "positive"), so every label gets a share of the queue.
    within = np.empty(len(doubt))
    for value in np.unique(label):
        rows = np.flatnonzero(label == value)
        within[rows] = _relative_ranks(doubt[rows])
    return np.asarray(WITHIN_LABEL * within + (1.0 - WITHIN_LABEL) * _relative_ranks(doubt))


def _relative_ranks(values: FloatArray) -> FloatArray:
    """The ranks ``(N,)`` of values in rising order, 0 to 1; equal values share one."""
    return np.asarray((rankdata(values) - 0.5) / len(values))


def review_order(priority: FloatArray, checked: BoolArray, features: FloatArray, *, seed: int) -> IntArray:
    """The review queue: row numbers by falling priority, no block mostly from one cluster; checked rows last."""
    by_priority = np.lexsort((np.arange(len(priority)), -priority, checked))
    is_last = checked[by_priority]
    waiting = spread(by_priority[~is_last].tolist(), assign_clusters(features, seed=seed))
    return np.array(waiting + by_priority[is_last].tolist(), dtype=np.int64)


def spread(rows: list[int], clusters: IntArray, *, block: int = BLOCK) -> list[int]:
    """Reorder rows so that, within each block, one cluster has at most a quarter of the rows.

    A block is chosen among the next five blocks' rows; where they are too much alike, the first of them fill it.
    """
    most = max(1, int(block * SHARE_PER_BLOCK))
    waiting = deque(rows)
    result: list[int] = []
    while waiting:
        window = [waiting.popleft() for _ in range(min(len(waiting), LOOK_AHEAD * block))]
        used: Counter[int] = Counter()
        chosen: list[int] = []
        for row in window:
            cluster = int(clusters[row])
            if len(chosen) < block and used[cluster] < most:
                used[cluster] += 1
                chosen.append(row)
        taken = set(chosen)
        left = [row for row in window if row not in taken]
        fill = block - len(chosen)
        result += chosen + left[:fill]
        waiting.extendleft(reversed(left[fill:]))
    return result


def assign_clusters(features: FloatArray, *, seed: int) -> IntArray:
    """A cluster ``(N,)`` for each row, by k-means on at most 5,000 rows."""
    from sklearn.cluster import MiniBatchKMeans

    values = np.nan_to_num(np.asarray(features, dtype=np.float32))
    distinct = len(np.unique(values[:MOST_POINTS], axis=0))
    with threadpool_limits(1):
        model = MiniBatchKMeans(min(CLUSTERS, distinct), random_state=seed, n_init=1)
        return np.asarray(model.fit(_sample(values)).predict(values), dtype=np.int64)


def map_points(features: FloatArray) -> FloatArray:
    """A map ``(N, 2)``: the two main directions of the features, each scaled to unit deviation; NaN for rows beyond 5,000."""
    values = np.nan_to_num(np.asarray(features, dtype=np.float32))
    points = np.full((len(values), 2), np.nan)
    rows = np.arange(len(values))[:: max(1, -(-len(values) // MOST_POINTS))]
    centred = values[rows] - values[rows].mean(axis=0)
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


def _sample(values: FloatArray) -> FloatArray:
    return values[:: max(1, -(-len(values) // MOST_POINTS))]
