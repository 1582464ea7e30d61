from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from mlcore.corpus import NoisyLabels
from mlcore.records import NO_LABEL
from mlcore.verdict.combine import (
    combine,
    estimate_contradictions,
    llm_log_vote,
    log_odds_wrong,
    sharpen,
    shift_prior,
)
from mlcore.verdict.constants import SHARED_ERROR
from mlcore.verdict.contradictions import Contradictions, count_contradictions


def opinion(truth: np.ndarray, rng: np.random.Generator, right: np.ndarray | float) -> np.ndarray:
    """Probabilities (N, 2) of a calibrated voter that is right with the given probability, row by row."""
    sure = np.broadcast_to(np.asarray(right, dtype=float), truth.shape)
    vote = np.where(rng.random(len(truth)) < sure, truth, 1 - truth)
    probs = np.empty((len(truth), 2))
    probs[np.arange(len(truth)), vote] = sure
    probs[np.arange(len(truth)), 1 - vote] = 1 - sure
    return probs


def labels(
    given: np.ndarray, verified: np.ndarray | None = None, probs: np.ndarray | None = None
) -> NoisyLabels:
    return NoisyLabels(given, probs, np.full(len(given), NO_LABEL) if verified is None else verified, 2)


@pytest.mark.parametrize("seed", range(3))
def test_weak_small_models_do_not_overrule_a_strong_llm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, 4000)
    hard = rng.random(4000) < 0.45  # on hard rows the small models guess
    right = np.where(hard, 0.51, 0.99)
    given = np.where(rng.random(4000) < 0.95, truth, 1 - truth)
    verdict = combine(opinion(truth, rng, right), opinion(truth, rng, right), labels(given))
    assert (verdict.label == truth).mean() >= (given == truth).mean() - 0.003


@pytest.mark.parametrize("seed", range(3))
def test_strong_small_models_replace_the_labels_of_a_weak_llm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, 4000)
    given = np.where(rng.random(4000) < 0.7, truth, 1 - truth)
    verdict = combine(opinion(truth, rng, 0.93), opinion(truth, rng, 0.93), labels(given))
    assert (verdict.label == truth).mean() > 0.92


def test_the_estimate_of_the_llms_errors_is_near_the_truth() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 20_000)
    for wrong in (0.1, 0.2, 0.3):
        hard = rng.random(20_000) < 0.3
        voter = [opinion(truth, rng, np.where(hard, 0.501, 1.0)).argmax(axis=1) for _ in range(2)]
        given = np.where(rng.random(20_000) < wrong, 1 - truth, truth)
        found = count_contradictions(voter[0], voter[1], given, np.ones(20_000, dtype=bool), 2)
        actual = (given != truth)[found.together].mean()
        assert abs(found.llm_wrong - actual) < 0.05


@pytest.mark.parametrize("rows", [300, 3000])
def test_the_lower_end_of_the_estimate_lies_one_standard_error_below_it(rows: int) -> None:
    """The error that is stated of one corpus is how far the estimates of a hundred like it lie apart."""
    found = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, 2, rows)
        voters = [opinion(truth, rng, 0.85).argmax(axis=1) for _ in range(2)]
        given = np.where(rng.random(rows) < 0.35, 1 - truth, truth)
        found.append(count_contradictions(voters[0], voters[1], given, np.ones(rows, dtype=bool), 2))
    stated = np.mean([each.llm_wrong - each.least_wrong for each in found])
    actual = np.std([each.llm_wrong for each in found])
    assert 0.7 < stated / actual < 1.4


def test_a_checked_row_has_no_risk_and_the_persons_label() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200)
    verified = np.full(200, NO_LABEL)
    verified[:50] = 1 - truth[:50]
    verdict = combine(opinion(truth, rng, 0.9), opinion(truth, rng, 0.9), labels(truth, verified))
    assert (verdict.label[:50] == verified[:50]).all()
    assert (verdict.risk[:50] == 0).all()


def test_the_risk_is_calibrated_once_rows_were_checked() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 6000)
    given = np.where(rng.random(6000) < 0.8, truth, 1 - truth)
    verified = np.full(6000, NO_LABEL)
    verified[:300] = truth[:300]
    verdict = combine(opinion(truth, rng, 0.8), opinion(truth, rng, 0.75), labels(given, verified))
    rest = slice(300, None)
    assert abs(verdict.risk[rest].mean() - (verdict.label != truth)[rest].mean()) < 0.03


def test_labels_accepted_in_bulk_do_not_make_the_models_seem_right_everywhere() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 6000)
    given = np.where(rng.random(6000) < 0.8, truth, 1 - truth)
    first, second = opinion(truth, rng, 0.8), opinion(truth, rng, 0.75)
    before = combine(first, second, labels(given))
    accepted = before.label == 0
    said = np.where(accepted, before.label, NO_LABEL)
    verdict = combine(first, second, NoisyLabels(given, None, said, 2, accepted))
    rest = ~accepted
    assert (verdict.label[accepted] == 0).all()
    assert (verdict.risk[accepted] == 0).all()
    assert abs(verdict.risk[rest].mean() - before.risk[rest].mean()) < 0.03
    assert verdict.evidence(labels(given))["checked_rows"] == 0


def test_unreadable_rows_follow_their_own_class_shares() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random(800) < 0.8).astype(int)
    probs = opinion(truth, rng, 0.7)
    shifted = shift_prior(probs, np.array([0.5, 0.5]))
    assert (shifted.argmax(axis=1) == truth).mean() > (probs.argmax(axis=1) == truth).mean() + 0.05


def test_sharpening_reaches_the_target_and_keeps_the_order() -> None:
    logs = log_softmax(np.random.default_rng(0).normal(size=(500, 3)), axis=1)
    sharp = sharpen(logs, 0.9)
    assert abs(np.exp(sharp).max(axis=1).mean() - 0.9) < 1e-3
    assert (sharp.argmax(axis=1) == logs.argmax(axis=1)).all()


def test_an_unreadable_answer_says_nothing() -> None:
    vote = llm_log_vote(
        labels(np.array([NO_LABEL, 0, 1]), probs=np.array([[np.nan] * 2, [0.6, 0.4], [np.nan] * 2]))
    )
    assert (vote[0] == 0).all()
    np.testing.assert_allclose(vote[1], [0, np.log(0.4 / 0.6)])
    assert vote[2].argmax() == 1


def test_without_checked_rows_even_unanimous_rows_keep_a_risk() -> None:
    truth = np.arange(200) % 2
    sure = opinion(truth, np.random.default_rng(0), 0.999)
    assert combine(sure, sure, labels(truth)).risk.min() >= SHARED_ERROR
    verified = np.full(200, NO_LABEL)
    verified[:50] = truth[:50]
    assert combine(sure, sure, labels(truth, verified)).risk[50:].max() < SHARED_ERROR / 2


def test_rows_that_the_llm_was_never_asked_about_have_the_small_models_own_risk() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 4000)
    first, second = opinion(truth, rng, 0.8), opinion(truth, rng, 0.7)
    given = np.where(rng.random(4000) < 0.9, truth, 1 - truth)
    given[rng.random(4000) < 0.95] = NO_LABEL
    never = given == NO_LABEL
    verdict = combine(first, second, labels(given))
    told, wrong = verdict.risk[never].mean(), (verdict.label != truth)[never].mean()
    assert wrong - 0.02 < told < wrong + 0.1


def test_the_weight_of_the_llms_vote_is_the_one_that_was_used() -> None:
    truth = np.arange(400) % 2
    given = np.where(np.arange(400) % 5 == 0, 1 - truth, truth)
    first, second = (opinion(truth, np.random.default_rng(seed), 0.75) for seed in (0, 1))
    weights = []
    for people in (given, 1 - given):
        verified = np.full(400, NO_LABEL)
        verified[:100] = people[:100]
        weights.append(combine(first, second, labels(given, verified)).llm_weight)
    assert weights[0] > weights[1] + 0.5


def test_doubt_is_exact_near_certainty() -> None:
    logs = np.log(np.array([[0.9, 0.06, 0.04], [0.5, 0.5, 1e-12]]))
    doubt = log_odds_wrong(logs, np.array([0, 1]))
    assert doubt == pytest.approx([np.log(0.1 / 0.9), 0.0], abs=1e-9)
    sure = np.array([[-1e-200, -460.0], [-1e-200, -470.0]])
    first, second = log_odds_wrong(sure, np.array([0, 0]))
    assert first - second == pytest.approx(10.0)


@pytest.mark.parametrize("seed", range(3))
def test_an_llm_that_doubts_itself_is_trusted_no_more_than_it_says(
    seed: int,
) -> None:
    """A weak second view contradicts the LLM alone so often that contradictions seem to be chance, as on small corpora."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, 400)
    right = rng.uniform(0.5, 1.0, 400)
    llm = opinion(truth, rng, right)
    first, second = opinion(truth, rng, 0.85), opinion(truth, rng, 0.6)
    given = llm.argmax(axis=1)
    silent, stated = combine(first, second, labels(given)), combine(first, second, labels(given, probs=llm))
    assert silent.contradictions.llm_wrong == 0.02
    rows = stated.contradictions.together
    actual = (given != truth)[rows].mean()
    assert 0.25 < stated.contradictions.llm_wrong <= actual + 0.05
    assert (stated.label == truth).mean() > (silent.label == truth).mean()
    assert abs(stated.risk.mean() - (stated.label != truth).mean()) < abs(
        silent.risk.mean() - (silent.label != truth).mean()
    )


def test_rows_of_which_the_llm_states_nothing_leave_the_estimate_alone() -> None:
    found = Contradictions(np.arange(4), 0.1, 0.05, 0.8)
    assert found.with_stated(np.full(9, np.nan)).llm_wrong == 0.1
    assert found.with_stated(np.array([0.9, 0.5, np.nan, np.nan])).llm_wrong == 0.1  # half is not most
    doubted = found.with_stated(np.array([0.9, 0.5, 0.4, np.nan]))
    assert doubted.llm_wrong == doubted.least_wrong == pytest.approx(0.6)
    sure = found.with_stated(np.array([0.01, 0.02, 0.04, 0.01]))
    assert sure.llm_wrong == pytest.approx((0.1 + 0.02) / 2)


def test_a_rare_class_that_is_contradicted_for_its_rarity_is_not_counted_against_the_llm() -> None:
    given = np.repeat([0, 1], [800, 200])
    first = np.where(given[:, None] == np.arange(2), 0.8, 0.2)
    first[800:900] = 0.6, 0.4  # twice as likely as its share says, and still called the frequent class
    first[:20] = 0.1, 0.9
    second = first.copy()
    first[100:160] = second[200:260] = 0.1, 0.9
    rows = np.ones(1000, dtype=bool)
    counted = count_contradictions(first.argmax(axis=1), second.argmax(axis=1), given, rows, 2)
    assert (
        estimate_contradictions(first, second, labels(given), rows).llm_wrong < 0.1 < 0.4 < counted.llm_wrong
    )


def test_rows_without_a_drawn_probability_hardly_bias_the_risk() -> None:
    """The queue showed the worst rows first; weighted back, the random answers decide what is told of the others."""
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, 6000)
    given = np.where(rng.random(6000) < 0.8, truth, 1 - truth)
    first, second = opinion(truth, rng, 0.7), opinion(truth, rng, 0.7)
    agree = (first.argmax(axis=1) == given) & (second.argmax(axis=1) == given)
    queue = np.flatnonzero(agree & (given != truth))[:60]  # all of them wrong
    drawn = rng.choice(np.setdiff1d(np.arange(6000), queue), 400, replace=False)
    verified, stands_for = np.full(6000, NO_LABEL), np.zeros(6000)
    verified[queue], verified[drawn] = truth[queue], truth[drawn]
    stands_for[drawn] = 15.0
    rest = agree & (verified == NO_LABEL)

    def told(weights: np.ndarray | None) -> float:
        noisy = NoisyLabels(given, None, verified, 2, None, weights)
        return float(combine(first, second, noisy).risk[rest].mean())

    true = (given != truth)[rest].mean()
    assert abs(told(stands_for) - true) < 0.06 < abs(told(None) - true) / 2
