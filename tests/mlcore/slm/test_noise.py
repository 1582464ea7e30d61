from __future__ import annotations

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from mlcore.messages import Message
from mlcore.slm.noise import clean_probability, fit_mixture, split_clean, suspicion_rank


def two_modes(seed: int, low: int = 400, high: int = 200) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0.4, 0.15, low), rng.normal(2.0, 0.5, high)]).clip(0)


@pytest.mark.parametrize("seed", range(5))
def test_the_mixture_is_as_likely_as_that_of_scikit_learn(seed: int) -> None:
    losses = two_modes(seed)
    mine = fit_mixture(losses)

    theirs = GaussianMixture(2, n_init=3, tol=1e-6, max_iter=500, random_state=seed).fit(losses[:, None])
    order = theirs.means_.ravel().argsort()
    assert mine.means == pytest.approx(theirs.means_.ravel()[order], abs=0.03)
    assert mine.weights == pytest.approx(theirs.weights_[order], abs=0.03)
    assert mine.deviations == pytest.approx(np.sqrt(theirs.covariances_.ravel()[order]), abs=0.06)


def test_the_clean_probability_never_rises_with_the_loss() -> None:
    losses = two_modes(1)
    prob = clean_probability(losses, fit_mixture(losses))
    assert (np.diff(prob[np.argsort(losses)]) <= 1e-12).all()
    assert prob.min() >= 0
    assert prob.max() <= 1


def test_clean_and_noisy_rows_of_two_modes_are_told_apart() -> None:
    losses = two_modes(2)
    prob = clean_probability(losses, fit_mixture(losses))
    assert ((prob > 0.5) == (np.arange(600) < 400)).mean() > 0.97


def test_each_class_keeps_its_share_though_one_is_harder() -> None:
    rng = np.random.default_rng(0)
    easy, hard = two_modes(3), two_modes(4) * 3 + 1
    losses, labels = np.concatenate([easy, hard]), np.repeat([0, 1], 600)
    order = rng.permutation(1200)

    per_class = split_clean(losses[order], labels[order], 2)
    single = split_clean(losses[order], labels[order], 2, per_class=False)

    kept = [per_class.clean[labels[order] == label].mean() for label in (0, 1)]
    assert abs(kept[0] - kept[1]) < 0.05
    kept_by_one = [single.clean[labels[order] == label].mean() for label in (0, 1)]
    assert kept_by_one[0] - kept_by_one[1] > 0.3


def test_a_small_class_falls_back_to_ranks_and_says_so() -> None:
    split = split_clean(np.array([0.1, 0.2, 0.3, 5.0]), np.array([0, 0, 0, 1]), 2)
    assert split.mixtures[0].fallback == Message("few_losses", {"rows": 3, "least": 50})
    assert split.clean[3], "the only row of a class must stay"


def test_no_class_keeps_less_than_its_floor() -> None:
    rng = np.random.default_rng(0)
    losses = np.concatenate([rng.normal(0.1, 0.01, 10), rng.normal(3, 0.5, 190)])
    assert split_clean(losses, np.zeros(200, dtype=int), 1, floor=0.3).clean.sum() >= 60


def test_equal_losses_give_equal_probabilities() -> None:
    split = split_clean(np.ones(80), np.zeros(80, dtype=int), 1)
    assert np.ptp(split.prob) == 0
    assert np.isfinite(split.prob).all()


def test_the_order_of_rows_changes_nothing() -> None:
    losses, labels = two_modes(5), np.arange(600) % 3
    order = np.random.default_rng(0).permutation(600)
    prob = split_clean(losses, labels, 3).prob
    assert split_clean(losses[order], labels[order], 3).prob == pytest.approx(prob[order], abs=1e-9)


def test_rank_one_is_the_lowest_clean_probability() -> None:
    rank = suspicion_rank(np.array([0.9, 0.1, 0.1, 0.5]), np.array([0.1, 2.0, 3.0, 1.0]))
    assert rank.tolist() == [4, 2, 1, 3]
