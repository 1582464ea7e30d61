from __future__ import annotations

import numpy as np
import pytest

from mlcore.slm.neighbours import nearest_rows, unit_rows


def test_the_nearest_rows_are_those_that_a_full_sort_finds() -> None:
    rng = np.random.default_rng(1)
    pool = unit_rows(rng.normal(size=(300, 16)))
    row = unit_rows(rng.normal(size=(1, 16)))[0]
    places, similarity = nearest_rows(pool, row, count=7)
    assert places.tolist() == np.argsort(-(pool @ row))[:7].tolist()
    assert similarity.tolist() == sorted(similarity.tolist(), reverse=True)


def test_length_does_not_count_and_an_empty_row_is_like_nothing() -> None:
    features = np.array([[3.0, 4.0], [30.0, 40.0], [0.0, 0.0]])
    units = unit_rows(features)
    assert (units @ units[0]).tolist() == pytest.approx([1.0, 1.0, 0.0])
    assert features[0].tolist() == [3.0, 4.0]


def test_there_are_never_more_neighbours_than_rows() -> None:
    pool = unit_rows(np.eye(3))
    assert len(nearest_rows(pool, pool[0], count=9)[0]) == 3
    assert len(nearest_rows(pool[:0], pool[0], count=4)[0]) == 0
