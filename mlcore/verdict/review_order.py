"""What people see first: the flag of a row, the review queue, and the map of the features."""

from __future__ import annotations

from collections import Counter, deque

import numpy as np
from threadpoolctl import threadpool_limits

from mlcore.corpus import INCONSISTENT, LIKELY_RIGHT, LIKELY_WRONG
from mlcore.records import NO_LABEL, FloatArray, IntArray

WITHIN_LABEL = 0.7
RISKY = 0.3  # a row whose final label is wrong with more than this probability is likely wrong
MOST_POINTS = 5_000
CLUSTERS = 20
LOOK_AHEAD = 5
SHARE_PER_BLOCK = 0.25  # of a block of the queue that may come from one cluster


def flag_rows(given: IntArray, verified: IntArray, prediction: IntArray, risk: FloatArray) -> IntArray:
    """Flags ``(N,)`` int8: 2 where the LLM's label and the prediction differ, else 1 above the risk threshold, else 0."""
    flag = np.where(risk > RISKY, LIKELY_WRONG, LIKELY_RIGHT)
    flag = np.where((given != NO_LABEL) & (given != prediction), INCONSISTENT, flag)
    return np.asarray(np.where(verified != NO_LABEL, LIKELY_RIGHT, flag), dtype=np.int8)


def worth_a_look(doubt: FloatArray, label: IntArray) -> FloatArray:
    """How much a row is worth a person's look ``(N,)``, 0 to 1: its place by doubt, among all rows and among its label's.

    How often a label as such is wrong shows in no contradiction (ChatGPT's "negative" on MR is wrong twice as often as its
    "positive"), so every label gets a share of the queue whatever the models think of it. Measured on MR, SMS and AG News
    in ``docs/benchmarks.md``.

    Args:
        doubt: ``(N,)``, any measure that grows with the probability of the label being wrong.
        label: ``(N,)``, the final labels.
    """
    within = np.empty(len(doubt))
    for each in np.unique(label):
        rows = np.flatnonzero(label == each)
        within[rows] = _places(doubt[rows])
    return np.asarray(WITHIN_LABEL * within + (1.0 - WITHIN_LABEL) * _places(doubt))


def _places(values: FloatArray) -> FloatArray:
    """Each value's place ``(N,)`` in rising order, 0 to 1; equal values share a place."""
    _, number, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray(((np.cumsum(counts) - counts / 2) / len(values))[number])


def review_order(worth: FloatArray, verified: IntArray, features: FloatArray, *, seed: int) -> IntArray:
    """The review queue: row numbers, what is worth most first, no block of twenty mostly from one cluster; verified rows last.

    The queue is cut into blocks of twenty; a row whose cluster has already a quarter of the block waits for the next.
    """
    checked = verified != NO_LABEL
    by_worth = np.lexsort((np.arange(len(worth)), -worth, checked))
    waiting = [int(row) for row in by_worth if not checked[row]]
    clusters = assign_clusters(features, seed=seed)
    return np.array(
        spread(waiting, clusters) + [int(row) for row in by_worth if checked[row]], dtype=np.int64
    )


def spread(rows: list[int], clusters: IntArray, *, block: int = 20) -> list[int]:
    """Reorder rows so that, within each block, one cluster has at most a quarter of the places.

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
    axes = axes * np.where(
        axes[np.abs(axes).argmax(axis=0), [0, 1]] < 0, -1.0, 1.0
    )  # a sign that does not depend on chance
    flat = centred @ axes
    points[rows] = flat / np.maximum(flat.std(axis=0), 1e-9)
    return points


def _sample(values: FloatArray) -> FloatArray:
    return values[:: max(1, -(-len(values) // MOST_POINTS))]
