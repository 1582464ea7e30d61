from __future__ import annotations

import numpy as np

from mlcore.corpus import NoisyLabels
from mlcore.records import NO_LABEL
from mlcore.verdict.combine import combine
from mlcore.verdict.fusion import answer_weights, fit_fusion
from mlcore.verdict.review_order import RISKY
from tests.mlcore.verdict.test_combine import labels, opinion


def fused(views: list[np.ndarray], truth: np.ndarray, checked: int) -> np.ndarray:
    rows = np.arange(checked)
    fusion = fit_fusion(np.log(np.stack(views)), rows, truth[rows], np.ones(checked))
    return np.asarray(fusion.logs.argmax(axis=1))


def test_checked_rows_teach_how_much_each_view_counts() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 2000)
    useless, good = opinion(truth, rng, 0.55), opinion(truth, rng, 0.95)
    for views in ([useless, good, useless], [good, useless, useless]):
        assert (fused(views, truth, 100) == truth).mean() > 0.93


def test_the_class_that_the_views_favour_is_set_right_by_answers() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 4000)
    drifting = [opinion(truth, rng, 0.7) * [3.0, 1.0] for _ in range(3)]
    views = [view / view.sum(axis=1, keepdims=True) for view in drifting]
    before, after = (np.log(np.stack(views)).sum(axis=0).argmax(axis=1), fused(views, truth, 400))
    assert (after == truth).mean() > (before == truth).mean() + 0.03


def test_the_risk_of_agreeing_rows_follows_the_random_answers() -> None:
    rng = np.random.default_rng(2)
    for wrong in (0.02, 0.3):
        shared = rng.integers(0, 2, 4000)  # what all views say
        truth = np.where(rng.random(4000) < wrong, 1 - shared, shared)
        sure = np.where(shared[:, None] == np.arange(2), 0.99, 0.01)
        verified = np.full(4000, NO_LABEL)
        drawn = rng.choice(4000, 400, replace=False)
        verified[drawn] = truth[drawn]
        verdict = combine(sure, sure, labels(shared, verified))
        rest = verified == NO_LABEL
        assert abs(verdict.risk[rest].mean() - (verdict.label != truth)[rest].mean()) < 0.05


def test_few_answers_do_not_make_rows_seem_surer_than_they_are() -> None:
    """Over many corpora, rows called right after 40 random answers are wrong about as often as told."""
    told, wrong = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, 2, 1000)
        given = np.where(rng.random(1000) < rng.uniform(0.1, 0.3), 1 - truth, truth)
        first, second = (opinion(truth, rng, rng.uniform(0.6, 0.9)) for _ in range(2))
        drawn = rng.choice(1000, 40, replace=False)
        verified = np.full(1000, NO_LABEL)
        verified[drawn] = truth[drawn]
        verdict = combine(first, second, labels(given, verified))
        right = (verdict.risk <= RISKY) & (verified == NO_LABEL)
        told.append(verdict.risk[right])
        wrong.append((verdict.label != truth)[right])
    assert 0.7 < np.concatenate(wrong).mean() / np.concatenate(told).mean() < 1.3


def test_random_answers_count_by_what_they_stand_for() -> None:
    verified = np.array([0, 1, 0, NO_LABEL])
    drawn = NoisyLabels(np.zeros(4, int), None, verified, 2, None, np.array([30.0, 10.0, 0.0, 0.0]))
    np.testing.assert_allclose(answer_weights(drawn), [1.5, 0.5, 0.05])
    nothing_known = NoisyLabels(np.zeros(4, int), None, verified, 2, None, np.zeros(4))
    np.testing.assert_allclose(answer_weights(nothing_known), 1.0)
