"""Cheap classifiers whose probabilities are all out of fold: neighbours, n-grams, boosted trees.

All take ``folds (N,)``: a row's probabilities come from models that were fitted on other folds, and copies of a row share
its fold. Arguments they share: ``labels (N,)`` with ``NO_LABEL`` where there is none, ``weights (N,)`` of the rows in
training, ``count`` of labels, K.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from mlcore.records import NO_LABEL, FloatArray, IntArray
from mlcore.slm.neighbours import unit_rows
from mlcore.verdict import constants

LONGEST_WORD = (
    12  # mean characters between spaces: 5 to 7 in European languages, over 15 in Chinese. Not varied.
)
ABSENT = 1e-6  # probability of a class that the training rows lack


def neighbour_votes(
    features: FloatArray,
    labels: IntArray,
    folds: IntArray,
    count: int,
    *,
    weights: FloatArray,
    neighbours: int = constants.NEIGHBOURS,
) -> FloatArray:
    """Label shares ``(N, K)`` among each row's nearest labelled rows of other folds, by cosine, with one vote's smoothing.

    After SimiFeat (Zhu et al., "Detecting corrupted labels without training a model to predict", ICML 2022).
    """
    votes = np.full((len(features), count), 1.0 / count)
    for rows, others in split_folds(labels, folds):
        if len(others) == 0:
            continue
        others = others[:: max(1, -(-len(others) // constants.MOST_REFERENCES))]
        nearest, references = min(neighbours, len(others)), unit_rows(features[others])
        for start in range(0, len(rows), 2048):  # at most 160 MB of cosines
            chunk = rows[start : start + 2048]
            cosine = unit_rows(features[chunk]) @ references.T  # (B, references)
            top = np.argpartition(-cosine, nearest - 1, axis=1)[:, :nearest]  # (B, neighbours)
            weight = np.exp(constants.NEIGHBOUR_SHARPNESS * (np.take_along_axis(cosine, top, axis=1) - 1.0))
            weight *= weights[others[top]] / weight.mean(axis=1, keepdims=True)
            for label in range(count):
                votes[chunk, label] += (weight * (labels[others[top]] == label)).sum(axis=1)
    return np.asarray(votes / votes.sum(axis=1, keepdims=True))


def split_folds(labels: IntArray, folds: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """For each fold its row numbers, and those of the labelled rows of all other folds."""
    for fold in np.unique(folds):
        yield np.flatnonzero(folds == fold), np.flatnonzero((folds != fold) & (labels != NO_LABEL))


def has_spaces(texts: Sequence[str]) -> bool:
    """Whether spaces part the words of most texts; in Chinese, say, a run of word characters is a whole clause."""
    return float(np.median([len(text) / max(len(text.split()), 1) for text in texts])) < LONGEST_WORD


def ngram_vectorizer(analyzer: str, **more: Any) -> TfidfVectorizer:
    """TF-IDF of words and word pairs (``word``) or of characters (``char``)."""
    settings: dict[str, Any] = {"ngram_range": (1, 2), "min_df": 2, "token_pattern": r"(?u)\b\w+\b"}
    if analyzer == "char":
        settings = {"ngram_range": (1, 5), "min_df": 3, "analyzer": "char_wb"}
    settings |= {"max_features": constants.MOST_NGRAMS, "dtype": np.float32}
    return TfidfVectorizer(sublinear_tf=True, **settings | more)


def ngram_features(texts: Sequence[str], analyzer: str) -> Any | None:
    """TF-IDF of :func:`ngram_vectorizer`; None if no n-gram occurs twice."""
    try:
        return sparse.csr_matrix(ngram_vectorizer(analyzer).fit_transform(texts))
    except ValueError:  # scikit-learn's word for an empty vocabulary
        return None


def logistic_probs(
    matrix: Any,
    labels: IntArray,
    folds: IntArray,
    count: int,
    *,
    weights: FloatArray,
    strength: float = constants.NGRAM_STRENGTH,
) -> FloatArray:
    """Probabilities ``(N, K)`` of a ridge logistic regression on a dense or sparse matrix ``(N, D)``."""
    with threadpool_limits(1):  # thread pools of BLAS fight over small products
        model = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
        return out_of_fold(model, matrix, labels, folds, count, weights)


def boosted_probs(
    matrix: FloatArray,
    labels: IntArray,
    folds: IntArray,
    count: int,
    *,
    weights: FloatArray,
    seed: int,
    leaves: int = 8,
    trees: int = 100,
) -> FloatArray:
    """Probabilities ``(N, K)`` of gradient-boosted trees, small and slow so that they don't learn the noise."""
    model = HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=trees, max_leaf_nodes=leaves, l2_regularization=1.0, random_state=seed
    )
    return out_of_fold(model, matrix, labels, folds, count, weights)


def out_of_fold(
    model: Any, matrix: Any, labels: IntArray, folds: IntArray, count: int, weights: FloatArray
) -> FloatArray:
    """Probabilities ``(N, K)`` of a scikit-learn classifier, fitted anew for each fold on the labelled rows of the others.

    Where those have one class only, it gets all of the mass; where they have none, the classes share it evenly.
    """
    probs = np.full((matrix.shape[0], count), 1.0 / count)
    for test, train in split_folds(labels, folds):
        classes = np.unique(labels[train])
        if len(classes) == 0:
            continue
        probs[test] = ABSENT
        if len(classes) == 1:
            probs[np.ix_(test, classes)] = 1.0
            continue
        model.fit(matrix[train], labels[train], sample_weight=weights[train])
        probs[np.ix_(test, model.classes_)] = model.predict_proba(matrix[test])
    return np.asarray(probs / probs.sum(axis=1, keepdims=True))
