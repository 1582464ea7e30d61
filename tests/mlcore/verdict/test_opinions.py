from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mlcore.config import DistillConfig
from mlcore.corpus import Corpus, NoisyLabels
from mlcore.records import NO_LABEL
from mlcore.slm.heads import Network
from mlcore.slm.inputs import TABLE, Inputs, Monitor
from mlcore.verdict.combine import Combined, Contradictions, combine
from mlcore.verdict.opinions import REFITS, Judges, decide, grow_halves, known_shares, look
from mlcore.verdict.pooling import assign_folds


def no_network() -> Network:
    raise AssertionError("trees need no network")


def table_judges(rows: int, seed: int, *, distance: float = 2.0) -> tuple[Judges, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(rows) % 2
    matrix = (rng.normal(size=(rows, 3)) + distance * labels[:, None]).astype(np.float32)
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


def verdict_on(judges: Judges, given: np.ndarray, network: np.ndarray) -> Combined:
    labels = NoisyLabels(given, None, np.full(len(given), NO_LABEL), 2)
    quiet = Monitor(lambda progress: None, lambda: False)
    return decide(judges, network, labels, given, np.ones(len(given)), quiet)


def sure_of(labels: np.ndarray, probability: float) -> np.ndarray:
    other = 1.0 - probability
    return np.where(labels[:, None] == np.arange(2), probability, other)


def test_the_network_is_heard_on_a_table_whose_labels_are_the_weaker_ones() -> None:
    judges, truth = table_judges(400, seed=0)
    given = np.where(np.random.default_rng(1).random(400) < 0.25, 1 - truth, truth)
    heard = verdict_on(judges, given, sure_of(truth, 0.9))
    forgetful = [verdict_on(judges, given, sure_of(np.full(400, only), 0.99)) for only in (0, 1)]
    alone = (forgetful[0].label == truth).mean()
    assert (heard.label == truth).mean() > alone > 0.9 > (given == truth).mean()
    np.testing.assert_array_equal(forgetful[0].student, forgetful[1].student)  # one class only: not heard


def test_no_network_overrules_labels_that_are_better_than_the_trees() -> None:
    judges, truth = table_judges(400, seed=0, distance=0.2)
    misled, helped = (verdict_on(judges, truth, sure_of(labels, 0.9)) for labels in (1 - truth, truth))
    assert misled.label.tolist() == truth.tolist()
    assert misled.student.tolist() == helped.student.tolist()


def test_a_class_that_the_small_models_give_up_is_no_evidence_against_the_llm() -> None:
    """Two models that call every row 1 contradict the LLM together on each of its rows of 0, and never alone."""
    given = np.where(np.arange(300) % 10 == 0, 0, 1)
    ones = sure_of(np.ones(300, dtype=np.int64), 0.8)
    noisy = NoisyLabels(given, None, np.full(300, NO_LABEL), 2)
    assert combine(ones, ones, noisy).found.teacher_wrong > 0.8
    np.testing.assert_array_equal(look(ones, ones, noisy).label, given)


@pytest.mark.parametrize(
    ("is_text", "least", "times"), [(True, 0.49, 0), (True, 0.51, REFITS), (False, 0.49, REFITS)]
)
def test_text_models_are_fitted_again_only_to_weaker_labels(
    is_text: bool, least: float, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    judges, truth = table_judges(400, seed=0)
    if is_text:
        judges = replace(judges, corpus=Corpus(judges.corpus.texts))
    given = np.where(np.arange(400) % 5 == 0, 1 - truth, truth)
    found = Contradictions(np.flatnonzero(given != truth), 0.6, least, 0.9)
    views = sure_of(truth, 0.9), sure_of(truth, 0.8)
    fitted: list[object] = []

    def fit(*rest: object) -> tuple[np.ndarray, np.ndarray]:
        fitted.append(rest)
        return views

    monkeypatch.setattr("mlcore.verdict.combine.count_contradictions", lambda *rest: found)
    monkeypatch.setattr("mlcore.verdict.opinions.gather_views", lambda *rest: views)
    monkeypatch.setattr("mlcore.verdict.opinions.refit", fit)
    verdict_on(judges, given, views[0])
    assert len(fitted) == times


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
