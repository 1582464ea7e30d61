"""What people's answers teach of the features, on top of the verdict."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from mlcore.verdict.residual import fit_residual, main_directions

ROWS, CHECKED = 400, 150


def test_answers_that_agree_with_a_sure_verdict_change_next_to_nothing() -> None:
    rng = np.random.default_rng(0)
    features = main_directions(rng.normal(size=(ROWS, 8)))
    truth = rng.integers(2, size=ROWS)
    logs = np.log(np.where(np.eye(2)[truth] == 1, 0.99, 0.01))
    rows = np.arange(CHECKED)
    after = fit_residual(logs, features, rows, truth[rows])
    assert np.abs(np.exp(after) - np.exp(logs)).max() < 0.01


def test_rows_like_those_that_were_wrong_become_riskier() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(ROWS, 8))
    said = rng.integers(2, size=ROWS)
    is_wrong = values[:, 0] > 1.0
    truth = np.where(is_wrong, 1 - said, said)
    logs = np.log(np.where(np.eye(2)[said] == 1, 0.8, 0.2))
    # The direction in which errors lie depends on what was said, as with texts of a class.
    features = main_directions(values * np.where(said, 1.0, -1.0)[:, None])
    rows = np.arange(CHECKED)
    after = fit_residual(logs, features, rows, truth[rows])
    assert np.allclose(np.exp(after).sum(axis=1), 1.0)
    others = np.arange(CHECKED, ROWS)
    risk = 1.0 - np.exp(after[others, said[others]])
    assert roc_auc_score(is_wrong[others], risk) > 0.8
