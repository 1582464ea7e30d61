"""Two opinions ``(N, K)`` on every row from different sources: what the label model weighs against the LLM.

Of texts, one comes from the encoder's features (the network and the neighbours), one from words and characters. The columns
of a table can't be told apart like this: there, both are trees, grown on disjoint halves of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from mlcore.config import DistillConfig
from mlcore.corpus import Corpus
from mlcore.probabilities import calibrate, pool
from mlcore.records import NO_LABEL, FloatArray, IntArray
from mlcore.slm.cross_fit import train
from mlcore.slm.inputs import HEAD, Inputs, Monitor
from mlcore.verdict import constants
from mlcore.verdict.classifiers import (
    boosted_probs,
    has_spaces,
    logistic_probs,
    neighbour_votes,
    ngram_features,
)


@dataclass(frozen=True)
class CrossFitter:
    """Fits small models to any labels of the same N rows, always out of fold."""

    corpus: Corpus
    inputs: Inputs
    folds: IntArray
    count: int
    config: DistillConfig
    monitor: Monitor

    @cached_property
    def ngrams(self) -> list[Any]:
        """TF-IDF matrices of words and of characters; fewer where nothing occurs twice or no spaces part words."""
        analyzers = ("word", "char") if has_spaces(self.corpus.texts) else ("char",)
        matrices = [ngram_features(self.corpus.texts, analyzer) for analyzer in analyzers]
        return [matrix for matrix in matrices if matrix is not None]

    def train_head(self, labels: IntArray, weights: FloatArray) -> FloatArray:
        """Probabilities ``(N, K)`` of a head that was trained plainly on these labels."""
        inputs = replace(self.inputs, build=self.inputs.rebuild, defaults=HEAD)
        plain = replace(self.config, method="plain", learning_rate=0.0)
        return train(inputs, labels, weights, self.folds, self.count, plain, self.monitor, None).probs

    def text_opinions(
        self, network: FloatArray, labels: IntArray, weights: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """The opinion from the encoder's features and that from n-grams, both calibrated to the labels.

        Args:
            network: ``(N, K)``, a network's probabilities on the encoder's features.
            labels: ``(N,)``, what the other models are fitted to.
            weights: ``(N,)``, how much each row counts in that.
        """
        folds, count = self.folds, self.count
        votes = neighbour_votes(self.inputs.features, labels, folds, count, weights=weights)
        encoder = [network, votes]
        ngrams = [logistic_probs(matrix, labels, folds, count, weights=weights) for matrix in self.ngrams]
        first, second = (
            calibrate(pool([calibrate(view, labels) for view in views]), labels)
            for views in (encoder, ngrams or encoder)
        )
        return first, second

    def tree_opinions(
        self, labels: IntArray, weights: FloatArray, size: Mapping[str, int] | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """The opinions of trees on two halves of the rows, both calibrated to the labels.

        Args:
            labels: ``(N,)``, what the trees are fitted to.
            weights: ``(N,)``, how much each row counts in that.
            size: leaves and number of the trees; None for the classifier's own.
        """
        half = np.random.default_rng(self.config.seed).integers(0, 2, len(labels))
        first, second = (
            calibrate(
                boosted_probs(
                    self.inputs.matrix,
                    np.where(half == part, labels, NO_LABEL),
                    self.folds,
                    self.count,
                    weights=weights,
                    seed=self.config.seed,
                    **(size or {}),
                ),
                labels,
            )
            for part in (0, 1)
        )
        return first, second

    def refit_texts(self, labels: IntArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The opinions of models of texts that are all fitted to these labels."""
        return self.text_opinions(self.train_head(labels, weights), labels, weights)

    def refit_trees(self, labels: IntArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The opinions of small trees that are fitted to these labels."""
        return self.tree_opinions(labels, weights, constants.REFITTED_TREES)
