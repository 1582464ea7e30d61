"""Calibration takes the batch's common bias away and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from mlcore.label.calibrate import calibrate_batch, spread_stated
from mlcore.measure.metrics import accuracy, confusion, macro_f1


def _biased(rows: int, bias: list[float], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    reference = rng.integers(0, len(bias), rows)
    logits = rng.normal(size=(rows, len(bias))) + 2.5 * np.eye(len(bias))[reference] + np.array(bias)
    probs = np.exp(logits)
    return probs / probs.sum(1, keepdims=True), reference


@pytest.mark.parametrize("bias", [[4.0, 0.0], [3.0, 0.0, -3.0], [0.0, 5.0, 1.0, -1.0]])
def test_a_common_bias_is_removed(bias: list[float]) -> None:
    probs, reference = _biased(2000, bias)
    calibrated = calibrate_batch(probs)
    unbiased = _biased(2000, [0.0] * len(bias))[0]
    assert accuracy(calibrated.argmax(1), reference) > accuracy(unbiased.argmax(1), reference) - 0.02
    assert calibrated.mean(0) == pytest.approx(np.full(len(bias), 1 / len(bias)), abs=1e-3)
    assert calibrated.sum(1) == pytest.approx(np.ones(2000))


def test_strength_zero_changes_nothing_and_one_half_goes_half_way() -> None:
    probs, _reference = _biased(500, [3.0, 0.0])
    assert np.array_equal(calibrate_batch(probs, strength=0.0), probs)
    shares = [calibrate_batch(probs, strength=strength)[:, 0].mean() for strength in (0.0, 0.5, 1.0)]
    assert shares[0] > shares[1] > shares[2]


def test_certain_empty_and_single_batches_survive() -> None:
    assert calibrate_batch(np.zeros((0, 3))).shape == (0, 3)
    assert np.isfinite(calibrate_batch(np.array([[1.0, 0.0]] * 5))).all()
    assert np.isfinite(calibrate_batch(np.array([[0.9, 0.1]]))).all()


def test_metrics_count_unreadable_rows_as_wrong() -> None:
    predicted, reference = np.array([0, 1, -1, 1]), np.array([0, 1, 1, 0])
    assert accuracy(predicted, reference) == 0.5
    assert confusion(predicted, reference, 2).tolist() == [[1, 1], [0, 1]]
    assert macro_f1(predicted, reference, 2) == pytest.approx((2 / 3 + 0.5) / 2)


def test_stated_confidences_keep_their_order_and_get_the_mean_that_is_assumed() -> None:
    stated, labels = np.array([1.0, 0.95, 0.9, 0.3, 0.0]), np.array([0, 1, 2, 0, 1])
    probs = spread_stated(stated, labels, 3)
    assert probs.sum(axis=1) == pytest.approx(1.0)
    assert (probs.argmax(axis=1) == labels).all(), (
        "however little it is trusted, a label keeps the largest share"
    )
    own = probs[np.arange(5), labels]
    assert (np.diff(own) <= 0).all()
    assert own[0] < 1.0
    sure = spread_stated(np.full(200, 0.98), np.zeros(200, dtype=int), 2)
    assert sure[:, 0] == pytest.approx(0.9)
