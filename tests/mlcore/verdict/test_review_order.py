from __future__ import annotations

import numpy as np

from mlcore.corpus import INCONSISTENT, LIKELY_RIGHT, LIKELY_WRONG
from mlcore.records import NO_LABEL
from mlcore.verdict.review_order import flag_rows, review_order


def test_flags_follow_from_the_risk() -> None:
    risk = np.array([0.0, 0.2, 0.21, 0.4, 0.41, 0.9, 0.1, 0.3])
    given = np.array([0, 0, 0, 0, 0, 0, NO_LABEL, NO_LABEL])
    differ, agree = (flag_rows(risk, given, np.full(8, label)).tolist() for label in (1, 0))
    right, wrong, open_ = LIKELY_RIGHT, LIKELY_WRONG, INCONSISTENT
    assert differ == [right, right, open_, open_, wrong, wrong, right, wrong]
    assert agree == [right, right, wrong, wrong, wrong, wrong, right, wrong]


def test_the_queue_falls_with_the_risk_and_checked_rows_come_last() -> None:
    risk = np.random.default_rng(0).random(100)
    checked = np.arange(100) < 10
    order = review_order(risk, risk, checked)
    assert sorted(order.tolist()) == list(range(100))
    assert (np.diff(risk[order[:90]]) < 0).all()
    assert set(order[-10:].tolist()) == set(range(10))


def test_equal_risks_are_ordered_by_doubt() -> None:
    order = review_order(np.array([0.2, 0.2, 0.7]), np.array([1.0, 2.0, 0.0]), np.zeros(3, dtype=bool))
    assert order.tolist() == [2, 1, 0]
