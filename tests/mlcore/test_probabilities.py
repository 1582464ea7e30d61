from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss

from mlcore.measure.metrics import expected_calibration_error
from mlcore.probabilities import (
    apply_temperature,
    calibrate,
    cross_entropy,
    fit_temperature,
    match_shares,
    pool,
)
from mlcore.records import NO_LABEL


def test_the_temperature_of_overconfident_answers_is_found() -> None:
    rng = np.random.default_rng(0)
    honest = rng.dirichlet([1.0, 1.0, 1.0], 4000)
    labels = np.array([rng.choice(3, p=row) for row in honest])
    overconfident = apply_temperature(honest, 1 / 3)
    temperature = fit_temperature(overconfident, labels)
    assert temperature == pytest.approx(3.0, rel=0.15)
    after = expected_calibration_error(apply_temperature(overconfident, temperature), labels)
    assert after < 0.03 < expected_calibration_error(overconfident, labels)


def test_a_temperature_is_fitted_to_the_rows_with_a_label_and_scales_all() -> None:
    rng = np.random.default_rng(0)
    honest = rng.dirichlet([1.0, 1.0], 2000)
    labels = (rng.random(2000) < honest[:, 1]).astype(int)
    sharp = apply_temperature(honest, 0.5)
    some = np.where(np.arange(2000) % 2 == 0, labels, NO_LABEL)
    assert calibrate(sharp, some) == pytest.approx(honest, abs=0.05)
    assert calibrate(sharp, np.full(2000, NO_LABEL)).tolist() == sharp.tolist()


def test_the_cross_entropy_is_that_of_scikit_learn_and_finite_for_impossible_labels() -> None:
    probs = np.random.default_rng(0).dirichlet([1.0, 1.0, 1.0], 50)
    labels = np.arange(50) % 3
    assert cross_entropy(probs, labels).mean() == pytest.approx(log_loss(labels, probs))
    assert 20 < cross_entropy(np.array([[1.0, 0.0]]), np.array([1]))[0] < 30


def test_probabilities_are_brought_to_the_shares_wanted() -> None:
    probs = np.random.default_rng(0).dirichlet([2.0, 2.0], 1000)
    moved = match_shares(probs, np.array([0.3, 0.7]))
    assert moved.mean(axis=0) == pytest.approx([0.3, 0.7], abs=1e-3)
    assert moved.sum(axis=1) == pytest.approx(np.ones(1000))
    assert match_shares(probs, np.array([0.3, 0.7]), strength=0.0) == pytest.approx(probs)


def test_a_class_that_nobody_gave_stays_finite_when_shares_are_matched() -> None:
    moved = match_shares(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([1.0, 0.0]))
    assert np.isfinite(moved).all()
    np.testing.assert_allclose(moved[:, 0], 1.0, atol=1e-6)


def test_pooled_opinions_multiply() -> None:
    pooled = pool([np.array([[0.8, 0.2]]), np.array([[0.6, 0.4]])])
    assert pooled == pytest.approx(np.array([[0.48 / 0.56, 0.08 / 0.56]]))
