"""Cheap second opinions on every row, each out of fold: its nearest neighbours' labels, and its words.

All functions take ``folds (N,)`` and never let a row, or a copy of it, judge itself: copies share a fold, and a row is
judged by a model that was fitted on the other folds only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from mlcore.records import BoolArray, FloatArray, IntArray

NEIGHBOURS = 20
NEIGHBOUR_SHARPNESS = 5.0  # a neighbour's vote counts exp(5 * (cosine - 1))
MOST_REFERENCES = 20_000  # keeps the vote linear in the number of rows
MOST_FEATURES = 60_000
SMALL_TREES = {"leaves": 4, "trees": 60}  # where many labels are wrong


def assign_folds(texts: Sequence[str], labels: IntArray, count: int, *, seed: int) -> IntArray:
    """A fold for each row: copies of a text share one, classes are spread evenly, the order of rows is irrelevant."""
    keys = [hashlib.sha256(f"{seed}:{text}".encode()).hexdigest() for text in texts]
    first: dict[str, int] = {}
    for row in np.lexsort((labels, np.array(keys))):
        first.setdefault(keys[row], int(labels[row]))
    folds = {key: place % count for place, key in enumerate(sorted(first, key=lambda key: (first[key], key)))}
    return np.array([folds[key] for key in keys], dtype=np.int64)


def neighbour_votes(
    features: FloatArray,
    labels: IntArray,
    labelled: BoolArray,
    folds: IntArray,
    count: int,
    *,
    weights: FloatArray,
    neighbours: int = NEIGHBOURS,
) -> FloatArray:
    """Label shares ``(N, K)`` among each row's nearest labelled rows of other folds, by cosine, with one vote's smoothing.

    After SimiFeat (Zhu et al., "Detecting corrupted labels without training a model to predict", ICML 2022).
    """
    unit = np.asarray(features, dtype=np.float32)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-6)
    votes = np.full((len(unit), count), 1.0 / count)
    for fold in np.unique(folds):
        rows, others = np.flatnonzero(folds == fold), np.flatnonzero((folds != fold) & labelled)
        if len(others) == 0:
            continue
        others = others[:: max(1, -(-len(others) // MOST_REFERENCES))]
        nearest = min(neighbours, len(others))
        for start in range(0, len(rows), 2048):
            chunk = rows[start : start + 2048]
            cosine = unit[chunk] @ unit[others].T  # (B, references)
            top = np.argpartition(-cosine, nearest - 1, axis=1)[:, :nearest]  # (B, neighbours)
            weight = np.exp(NEIGHBOUR_SHARPNESS * (np.take_along_axis(cosine, top, axis=1) - 1.0))
            weight *= nearest / weight.sum(axis=1, keepdims=True)
            weight *= weights[others[top]]
            near = labels[others[top]]
            for label in range(count):
                votes[chunk, label] += (weight * (near == label)).sum(axis=1)
    return np.asarray(votes / votes.sum(axis=1, keepdims=True))


def ngram_features(texts: Sequence[str], analyzer: str) -> Any | None:
    """TF-IDF of words and word pairs (``word``) or of characters (``char``); None if no n-gram occurs twice."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    settings: dict[str, Any] = {"ngram_range": (1, 2), "min_df": 2, "token_pattern": r"(?u)\b\w+\b"}
    if analyzer == "char":
        settings = {"ngram_range": (1, 5), "min_df": 3, "analyzer": "char_wb"}
    try:
        matrix = TfidfVectorizer(sublinear_tf=True, max_features=MOST_FEATURES, **settings).fit_transform(
            texts
        )
    except ValueError:  # scikit-learn's word for an empty vocabulary
        return None
    return sparse.csr_matrix(matrix)


def logistic_probs(
    matrix: Any,
    labels: IntArray,
    labelled: BoolArray,
    folds: IntArray,
    count: int,
    *,
    weights: FloatArray,
    strength: float,
) -> FloatArray:
    """Out-of-fold probabilities ``(N, K)`` of a ridge logistic regression on a dense or sparse matrix ``(N, D)``."""
    from sklearn.linear_model import LogisticRegression

    probs = np.full((matrix.shape[0], count), 1.0 / count)
    with threadpool_limits(1):  # thread pools of BLAS fight over small products
        for fold in np.unique(folds):
            train, test = np.flatnonzero((folds != fold) & labelled), np.flatnonzero(folds == fold)
            seen = np.unique(labels[train])
            if len(seen) == 0:
                continue
            probs[test] = 1e-6
            if len(seen) == 1:
                probs[np.ix_(test, seen)] = 1.0
                continue
            model = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
            model.fit(matrix[train], labels[train], sample_weight=weights[train])
            probs[np.ix_(test, model.classes_)] = model.predict_proba(matrix[test])
    return np.asarray(probs / probs.sum(axis=1, keepdims=True))


def boosted_probs(
    matrix: FloatArray,
    labels: IntArray,
    labelled: BoolArray,
    folds: IntArray,
    count: int,
    *,
    weights: FloatArray,
    seed: int,
    leaves: int = 8,
    trees: int = 100,
) -> FloatArray:
    """Out-of-fold probabilities ``(N, K)`` of gradient-boosted trees, small and slow so that they don't learn the noise."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    probs = np.full((len(matrix), count), 1.0 / count)
    for fold in np.unique(folds):
        train, test = np.flatnonzero((folds != fold) & labelled), np.flatnonzero(folds == fold)
        if len(np.unique(labels[train])) < 2:
            continue
        model = HistGradientBoostingClassifier(
            learning_rate=0.05,
            max_iter=trees,
            max_leaf_nodes=leaves,
            l2_regularization=1.0,
            random_state=seed,
        )
        model.fit(matrix[train], labels[train], sample_weight=weights[train])
        probs[test] = 1e-6
        probs[np.ix_(test, model.classes_)] = model.predict_proba(matrix[test])
    return np.asarray(probs / probs.sum(axis=1, keepdims=True))


def calibrate(probs: FloatArray, labels: IntArray, labelled: BoolArray) -> FloatArray:
    """Scale log-probabilities ``(N, K)`` by the one temperature that makes the given labels likeliest (Guo et al. 2017)."""
    logs = np.log(np.maximum(probs, 1e-9))
    if not labelled.any():
        return probs
    known, wanted = logs[labelled], labels[labelled]

    def negative_likelihood(log_scale: FloatArray) -> float:
        return float(-log_softmax(known * np.exp(log_scale[0]))[np.arange(len(wanted)), wanted].mean())

    best = minimize(
        negative_likelihood, np.zeros(1), method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-7}
    )
    return np.asarray(np.exp(log_softmax(logs * np.exp(np.clip(best.x[0], -4, 4)))))


def match_shares(probs: FloatArray, shares: FloatArray) -> FloatArray:
    """Multiply each class of ``probs (N, K)`` by a factor such that the classes' mean probabilities are ``shares (K,)``."""
    logs = np.log(np.maximum(probs, 1e-9))
    for _ in range(100):
        means = np.exp(log_softmax(logs)).mean(axis=0)
        logs = logs + np.log(np.maximum(shares, 1e-6) / np.maximum(means, 1e-9))
    return np.asarray(np.exp(log_softmax(logs)))


def pool(views: Sequence[FloatArray]) -> FloatArray:
    """The normalised product of opinions ``(N, K)``."""
    return np.asarray(np.exp(log_softmax(np.sum([np.log(np.maximum(view, 1e-9)) for view in views], axis=0))))


def log_softmax(logits: FloatArray) -> FloatArray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
