from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from mlcore.classifier.calibration import fit_calibration, fit_risk

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 3, 4000)
LOGITS = RNG.normal(0, 1, (4000, 3)) + 2.0 * np.eye(3)[TRUTH]


def test_an_overconfident_view_is_told_its_true_risk() -> None:
    views = {"network": softmax(5 * LOGITS, axis=1), "word": softmax(LOGITS, axis=1)}
    calibration = fit_calibration(views, TRUTH, np.zeros(4000))
    probs = calibration.pool(views)
    wrong = probs.argmax(axis=1) != TRUTH
    assert calibration.risk(probs).mean() == pytest.approx(wrong.mean(), abs=0.01)
    risky = calibration.risk(probs) > 0.3
    assert calibration.risk(probs)[risky].mean() == pytest.approx(wrong[risky].mean(), abs=0.05)


def test_final_labels_that_may_be_wrong_raise_the_risk() -> None:
    labels = np.where(RNG.random(4000) < 0.2, (TRUTH + 1) % 3, TRUTH)
    probs = softmax(4 * np.eye(3)[labels], axis=1)  # a model that repeats every wrong label
    offset, slope = fit_risk(probs, labels, np.full(4000, 0.2))
    odds = np.log((1 - probs.max()) / probs.max())
    assert 1 / (1 + np.exp(-(offset + slope * odds))) == pytest.approx(0.2, abs=0.01)
