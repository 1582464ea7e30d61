from __future__ import annotations

import numpy as np

from mlcore.corpus import INCONSISTENT, LIKELY_RIGHT, LIKELY_WRONG
from mlcore.records import NO_LABEL
from mlcore.verdict.review_order import flag_rows, map_points, review_order, review_priority, spread


def test_flags_follow_from_the_risk() -> None:
    risk = np.array([0.0, 0.2, 0.21, 0.4, 0.41, 0.9, 0.1, 0.3])
    given = np.array([0, 0, 0, 0, 0, 0, NO_LABEL, NO_LABEL])
    differ, agree = (flag_rows(risk, given, np.full(8, label)).tolist() for label in (1, 0))
    right, wrong, open_ = LIKELY_RIGHT, LIKELY_WRONG, INCONSISTENT
    assert differ == [right, right, open_, open_, wrong, wrong, right, wrong]
    assert agree == [right, right, wrong, wrong, wrong, wrong, right, wrong]


def test_a_block_of_the_queue_is_not_twenty_copies_of_one_mistake() -> None:
    clusters = np.tile(np.repeat([0, 1, 2, 3, 4], 20), 2)
    queue = spread(list(range(200)), clusters)
    assert sorted(queue) == list(range(200))
    first = np.bincount(clusters[queue[:20]], minlength=5)
    assert first.max() <= 5


def test_one_cluster_only_keeps_the_order_of_risk() -> None:
    assert spread(list(range(70)), np.zeros(70, dtype=int)) == list(range(70))


def test_the_riskiest_row_comes_first_and_checked_rows_last() -> None:
    rng = np.random.default_rng(0)
    risk = rng.random(100)
    checked = np.arange(100) < 10
    order = review_order(risk, checked, rng.normal(size=(100, 4)), seed=0)
    assert order[0] == 10 + risk[10:].argmax()
    assert set(order[-10:].tolist()) == set(range(10))


def test_a_label_that_the_models_never_doubt_gets_its_share_of_the_queue() -> None:
    label = np.repeat([0, 1], 100)
    doubt = np.concatenate([np.linspace(0.5, 1.0, 100), np.linspace(0.0, 0.4, 100)])
    first = np.argsort(-review_priority(doubt, label))[:40]
    assert 5 <= int(label[first].sum()) <= 20
    for each in (0, 1):
        rows = np.flatnonzero(label == each)
        assert (np.diff(review_priority(doubt, label)[rows]) > 0).all()


def test_equal_doubt_is_worth_equal_looks() -> None:
    worth = review_priority(np.array([0.2, 0.2, 0.7]), np.array([1, 1, 1]))
    assert worth[0] == worth[1] < worth[2]


def test_the_map_has_at_most_five_thousand_points() -> None:
    points = map_points(np.random.default_rng(0).normal(size=(12_000, 3)))
    shown = ~np.isnan(points[:, 0])
    assert 3_000 < shown.sum() <= 5_000
    np.testing.assert_allclose(points[shown].std(axis=0), 1, atol=1e-6)


def test_a_map_of_one_dimension_is_still_a_map() -> None:
    assert np.isfinite(map_points(np.arange(10.0)[:, None])).all()
