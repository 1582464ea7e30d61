from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mlcore.corpus import Corpus, NoisyLabels
from mlcore.records import NO_LABEL
from mlcore.verdict.combine import Verdict, combine
from mlcore.verdict.constants import REFITS
from mlcore.verdict.contradictions import Contradictions
from mlcore.verdict.decide import decide_table, decide_texts, first_verdict, known_shares, refit_to_verdict
from mlcore.verdict.opinions import CrossFitter
from tests.mlcore.verdict.test_opinions import table_fitter


def verdict_on(fitter: CrossFitter, given: np.ndarray, network: np.ndarray) -> Verdict:
    labels = NoisyLabels(given, None, np.full(len(given), NO_LABEL), 2)
    decide = decide_texts if fitter.corpus.table is None else decide_table
    return decide(fitter, network, labels, np.ones(len(given)))


def sure_of(labels: np.ndarray, probability: float) -> np.ndarray:
    other = 1.0 - probability
    return np.where(labels[:, None] == np.arange(2), probability, other)


def test_the_network_takes_part_on_a_table_whose_labels_are_the_weaker_ones() -> None:
    fitter, truth = table_fitter(400, seed=0)
    given = np.where(np.random.default_rng(1).random(400) < 0.25, 1 - truth, truth)
    verdict = verdict_on(fitter, given, sure_of(truth, 0.9))
    one_class = [verdict_on(fitter, given, sure_of(np.full(400, only), 0.99)) for only in (0, 1)]
    alone = (one_class[0].label == truth).mean()
    assert (verdict.label == truth).mean() > alone > 0.9 > (given == truth).mean()
    np.testing.assert_array_equal(one_class[0].slm_probs, one_class[1].slm_probs)  # left out


def test_no_network_overrules_labels_that_are_better_than_the_trees() -> None:
    fitter, truth = table_fitter(400, seed=0, distance=0.2)
    misled, helped = (verdict_on(fitter, truth, sure_of(labels, 0.9)) for labels in (1 - truth, truth))
    assert misled.label.tolist() == truth.tolist()
    assert misled.slm_probs.tolist() == helped.slm_probs.tolist()


def test_a_class_that_the_small_models_give_up_is_no_evidence_against_the_llm() -> None:
    """Two models that call every row 1 contradict the LLM together on each of its rows of 0, and never alone."""
    given = np.where(np.arange(300) % 10 == 0, 0, 1)
    ones = sure_of(np.ones(300, dtype=np.int64), 0.8)
    noisy = NoisyLabels(given, None, np.full(300, NO_LABEL), 2)
    assert combine(ones, ones, noisy).contradictions.llm_wrong > 0.8
    np.testing.assert_array_equal(first_verdict((ones, ones), noisy).label, given)


@pytest.mark.parametrize(
    ("is_text", "least", "times"), [(True, 0.49, 0), (True, 0.51, REFITS), (False, 0.49, REFITS)]
)
def test_text_models_are_fitted_again_only_to_weaker_labels(
    is_text: bool, least: float, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitter, truth = table_fitter(400, seed=0)
    if is_text:
        fitter = replace(fitter, corpus=Corpus(fitter.corpus.texts))
    given = np.where(np.arange(400) % 5 == 0, 1 - truth, truth)
    contradictions = Contradictions(np.flatnonzero(given != truth), 0.6, least, 0.9)
    views = sure_of(truth, 0.9), sure_of(truth, 0.8)
    fitted: list[object] = []

    def fit(*rest: object) -> tuple[np.ndarray, np.ndarray]:
        fitted.append(rest)
        return views

    monkeypatch.setattr("mlcore.verdict.combine.count_contradictions", lambda *rest: contradictions)
    for name in ("text_opinions", "tree_opinions"):
        monkeypatch.setattr(CrossFitter, name, lambda *rest: views)
    for name in ("refit_texts", "refit_trees"):
        monkeypatch.setattr(CrossFitter, name, fit)
    verdict_on(fitter, given, views[0])
    assert len(fitted) == times


def test_a_refit_that_forgets_a_class_is_undone() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random(400) < 0.2).astype(int)
    noisy = NoisyLabels(truth, None, np.full(400, NO_LABEL), 2)
    before = combine(
        sure_of(truth, 0.9),
        sure_of(truth, 0.8),
        noisy,
        contradictions=Contradictions(np.arange(9), 0.9, 0.9, 0.9),
    )
    forgets = sure_of(np.zeros(400, dtype=np.int64), 0.9999)
    verdict = refit_to_verdict(before, noisy, lambda labels: (forgets, forgets))
    np.testing.assert_array_equal(verdict.label, before.label)
    assert (verdict.label == 1).sum() == (truth == 1).sum()


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
