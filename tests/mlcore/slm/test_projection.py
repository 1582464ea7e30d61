from __future__ import annotations

import numpy as np

from mlcore.records import FloatArray, IntArray
from mlcore.slm.projection import map_points


def four_groups(rows: int = 200) -> tuple[FloatArray, IntArray]:
    """Rows of four groups that differ in the third and fourth of twelve directions, which are not the widest ones."""
    rng = np.random.default_rng(0)
    group = np.arange(rows) % 4
    values = rng.normal(size=(rows, 12)) * np.array([3.0, 3.0, *np.ones(10)])
    values[:, 2] += 9 * (group % 2)
    values[:, 3] += 9 * (group // 2)
    return values, group


def neighbours_of_the_own_group(points: FloatArray, group: IntArray) -> float:
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argsort(axis=1)[:, :5]
    return float((group[nearest] == group[:, None]).mean())


def test_groups_part_on_the_map_though_they_are_not_the_widest_directions() -> None:
    values, group = four_groups()
    assert neighbours_of_the_own_group(map_points(values), group) > 0.95
    assert neighbours_of_the_own_group(values[:, :2], group) < 0.6, (
        "the widest directions alone don't part them"
    )


def test_the_map_does_not_depend_on_chance() -> None:
    values, _group = four_groups()
    np.testing.assert_array_equal(map_points(values), map_points(values))


def test_the_map_has_at_most_five_thousand_points() -> None:
    points = map_points(np.random.default_rng(0).normal(size=(12_000, 3)))
    shown = ~np.isnan(points[:, 0])
    assert 3_000 < shown.sum() <= 5_000
    np.testing.assert_allclose(points[shown].std(axis=0), 1, atol=1e-6)


def test_a_map_of_one_dimension_or_of_few_rows_is_still_a_map() -> None:
    assert np.isfinite(map_points(np.arange(10.0)[:, None])).all()
    assert np.isfinite(map_points(np.arange(40.0)[:, None])).all()
