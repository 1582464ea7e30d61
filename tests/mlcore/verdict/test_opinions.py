from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from mlcore.config import DistillConfig
from mlcore.corpus import Corpus
from mlcore.slm.cross_fit import assign_folds
from mlcore.slm.heads import Network
from mlcore.slm.inputs import TABLE, Inputs, Monitor
from mlcore.verdict.opinions import CrossFitter


def no_network() -> Network:
    raise AssertionError("trees need no network")


def table_fitter(rows: int, seed: int, *, distance: float = 2.0) -> tuple[CrossFitter, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(rows) % 2
    matrix = (rng.normal(size=(rows, 3)) + distance * labels[:, None]).astype(np.float32)
    texts = [f"row {number}" for number in range(rows)]
    inputs = Inputs(matrix.astype(np.float16), matrix, no_network, TABLE, no_network)
    folds = assign_folds(texts, labels, 5, seed=seed)
    corpus = Corpus(texts, pd.DataFrame({"a": texts}))
    quiet = Monitor(lambda progress: None, lambda: False)
    return CrossFitter(corpus, inputs, folds, 2, DistillConfig(seed=seed), quiet), labels


def test_trees_of_one_half_learn_nothing_from_the_other() -> None:
    fitter, labels = table_fitter(240, seed=3)
    half = np.random.default_rng(3).integers(0, 2, 240)
    before = fitter.tree_opinions(labels, np.ones(240))
    after = fitter.tree_opinions(np.where(half == 1, 1 - labels, labels), np.ones(240))
    assert (before[0].argmax(axis=1) == labels).mean() > 0.9
    # Calibration sees all labels, but never changes which one is the likeliest.
    np.testing.assert_array_equal(before[0].argmax(axis=1), after[0].argmax(axis=1))
    assert (after[1].argmax(axis=1) == labels).mean() < 0.1


def test_texts_without_ngrams_have_the_encoders_opinion_twice() -> None:
    fitter, labels = table_fitter(60, seed=0)
    fitter = replace(fitter, corpus=Corpus([""] * 60))
    network = np.where(labels[:, None] == np.arange(2), 0.9, 0.1)
    encoder, other = fitter.text_opinions(network, labels, np.ones(60))
    assert encoder.tolist() == other.tolist()
