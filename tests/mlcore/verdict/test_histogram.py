from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from mlcore.corpus import Mixture
from mlcore.messages import Message
from mlcore.slm.noise import split_clean
from mlcore.verdict.histogram import loss_histogram


def test_every_row_with_a_loss_is_counted_once_in_its_own_class() -> None:
    losses = np.array([0.1, 0.2, np.nan, 3.0, 0.4, 2.5])
    labels = np.array([0, 0, -1, 0, 1, 1])
    mixtures = [Mixture(label, 3, (0.5, 0.5), (0.2, 2.0), (0.1, 0.5)) for label in (0, 1)]
    found = loss_histogram(losses, labels, np.array([0.9, 0.8, 0, 0.1, 0.9, 0.2]), mixtures, threshold=0.5)
    assert [sum(part["counts"]) for part in found["parts"]] == [3, 2]
    assert [part["boundary"] for part in found["parts"]] == [0.2, 0.4]
    assert len(found["edges"]) == len(found["parts"][0]["counts"]) + 1


def test_the_gaussians_expect_as_many_rows_in_a_bin_as_their_distribution_says() -> None:
    rng = np.random.default_rng(3)
    losses = np.abs(np.concatenate([rng.normal(0.5, 0.1, 700), rng.normal(2.0, 0.4, 300)]))
    split = split_clean(losses, np.zeros(1000, dtype=np.int64), 1)
    part = (
        found := loss_histogram(
            losses, np.zeros(1000, dtype=np.int64), split.prob, split.mixtures, threshold=0.5
        )
    )["parts"][0]
    edges, mixture = found["edges"], split.mixtures[0]
    low, high = edges[10], edges[11]
    for name, place in (("clean", 0), ("noisy", 1)):
        curve = norm(mixture.means[place], mixture.deviations[place])
        share = mixture.weights[place] * (curve.cdf(high) - curve.cdf(low))
        assert part[name][10] == pytest.approx(1000 * share, abs=0.2)
    assert sum(part["clean"]) + sum(part["noisy"]) == pytest.approx(1000, abs=1)
    assert np.abs(np.array(part["counts"]) - part["clean"] - part["noisy"]).sum() < 250


def test_a_class_judged_by_ranks_has_no_gaussians_and_says_why() -> None:
    losses = np.array([0.1, 0.2, 0.9])
    reason = Message("few_losses", {"rows": 3, "least": 50})
    mixture = Mixture(0, 3, (1.0, 0.0), (0.1, 0.1), (0.0, 0.0), reason)
    part = loss_histogram(losses, np.zeros(3, dtype=np.int64), np.ones(3), [mixture], threshold=0.5)["parts"][
        0
    ]
    assert (part["clean"], part["noisy"]) == ([], [])
    assert Message.of(part["fallback"]) == reason


def test_outliers_share_the_last_bin_and_no_losses_make_no_histogram() -> None:
    losses = np.concatenate([np.linspace(0, 1, 1000), [20.0]])
    mixture = Mixture(-1, 1001, (0.5, 0.5), (0.2, 0.8), (0.1, 0.1))
    found = loss_histogram(losses, np.zeros(1001, dtype=np.int64), np.zeros(1001), [mixture], threshold=0.5)
    assert found["edges"][-1] < 1.1
    assert sum(found["parts"][0]["counts"]) == 1001
    assert found["parts"][0]["boundary"] is None
    assert loss_histogram(np.array([np.nan]), np.array([-1]), np.zeros(1), [], threshold=0.5)["parts"] == []
