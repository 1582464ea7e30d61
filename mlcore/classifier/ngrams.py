"""A linear model on TF-IDF of words or characters whose parts are plain lists and arrays, so that a file can hold it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from mlcore.records import FloatArray, IntArray
from mlcore.verdict import constants
from mlcore.verdict.classifiers import ABSENT, logistic_probs, ngram_vectorizer


@dataclass(frozen=True)
class NgramModel:
    """``terms``: V n-grams. ``idf (V,)``; ``weights (K, V)`` and ``biases (K,)`` of the logistic regression on TF-IDF."""

    analyzer: str
    terms: list[str]
    idf: FloatArray
    weights: FloatArray
    biases: FloatArray

    def predict(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities ``(N, K)``."""
        vectorizer = ngram_vectorizer(self.analyzer, vocabulary=self.terms)
        vectorizer.idf_ = self.idf.astype(np.float64)
        scores = vectorizer.transform(texts) @ self.weights.T.astype(np.float64) + self.biases
        return np.asarray(softmax(scores, axis=1))


def fit_ngrams(
    texts: Sequence[str], analyzer: str, labels: IntArray, weights: FloatArray, halves: IntArray, count: int
) -> tuple[NgramModel, FloatArray, FloatArray] | None:
    """The model fitted to all rows; probabilities ``(N, K)`` of each half by one fitted to the other, and by the model itself.

    None where no n-gram occurs twice.
    """
    vectorizer = ngram_vectorizer(analyzer)
    try:
        matrix = vectorizer.fit_transform(texts).tocsr()
    except ValueError:  # scikit-learn's word for an empty vocabulary
        return None
    out_of_fold = logistic_probs(matrix, labels, halves, count, weights=weights)
    coefficients = np.zeros((count, matrix.shape[1]), dtype=np.float32)
    biases = np.full(count, np.log(ABSENT), dtype=np.float64)
    classes = np.unique(labels)
    biases[classes] = 0.0
    refitted = np.full((len(texts), count), ABSENT)
    refitted[:, classes] = 1.0
    if len(classes) > 1:
        with threadpool_limits(1):
            model = LogisticRegression(C=constants.NGRAM_STRENGTH, max_iter=200, tol=1e-3)
            model.fit(matrix, labels, sample_weight=weights)
        fitted = (
            classes if len(classes) > 2 else classes[1:]
        )  # of two classes, the second one against the first
        coefficients[fitted], biases[fitted] = model.coef_, model.intercept_
        refitted[:, classes] = model.predict_proba(matrix)
    terms = vectorizer.get_feature_names_out().tolist()
    kept = NgramModel(analyzer, terms, vectorizer.idf_.astype(np.float32), coefficients, biases)
    return kept, out_of_fold, refitted
