from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from mlcore.config import DistillConfig
from mlcore.corpus import Corpus, NoisyLabels
from mlcore.evidence import assign_folds
from mlcore.heads import Network
from mlcore.inputs import TABLE, Inputs
from mlcore.opinions import Judges, grow_halves, known_shares
from mlcore.records import NO_LABEL


def no_network() -> Network:
    raise AssertionError("trees need no network")


def table_judges(rows: int, seed: int) -> tuple[Judges, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(rows) % 2
    matrix = (rng.normal(size=(rows, 3)) + 2 * labels[:, None]).astype(np.float32)
    texts = [f"row {number}" for number in range(rows)]
    build: Callable[[], Network] = no_network
    inputs = Inputs(matrix.astype(np.float16), matrix, build, TABLE, build)
    folds = assign_folds(texts, labels, 5, seed=seed)
    corpus = Corpus(texts, pd.DataFrame({"a": texts}))
    return Judges(corpus, inputs, folds, 2, DistillConfig(seed=seed)), labels


def test_trees_of_one_half_learn_nothing_from_the_other() -> None:
    judges, labels = table_judges(240, seed=3)
    half = np.random.default_rng(3).integers(0, 2, 240)
    before = grow_halves(judges, labels, np.ones(240))
    after = grow_halves(judges, np.where(half == 1, 1 - labels, labels), np.ones(240))
    assert (before[0].argmax(axis=1) == labels).mean() > 0.9
    # Calibration sees all labels, but never changes which one is the likeliest.
    np.testing.assert_array_equal(before[0].argmax(axis=1), after[0].argmax(axis=1))
    assert (after[1].argmax(axis=1) == labels).mean() < 0.1


def test_shares_are_known_where_the_llm_gave_distributions() -> None:
    given = np.array([0, 1, 1, NO_LABEL])
    nobody = np.full(4, NO_LABEL)
    assert known_shares(NoisyLabels(given, None, nobody, 2)) is None
    probs = np.array([[0.8, 0.2], [0.4, 0.6], [0.3, 0.7], [np.nan, np.nan]])
    shares = known_shares(NoisyLabels(given, probs, nobody, 2))
    assert shares is not None
    np.testing.assert_allclose(shares, [0.5, 0.5])
    probs[1:] = np.nan
    assert known_shares(NoisyLabels(given, probs, nobody, 2)) is None
