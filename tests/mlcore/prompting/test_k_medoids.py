from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from mlcore.prompting.k_medoids import choose_medoids


def distances_of(points: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(points[:, None] - points[None], axis=2))


def total(distances: np.ndarray, medoids: tuple[int, ...] | np.ndarray) -> float:
    return float(distances[list(medoids)].min(axis=0).sum())


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_medoids_are_nearly_the_best_of_all_sets(count: int) -> None:
    ratios = []
    for seed in range(30):
        distances = distances_of(np.random.default_rng(seed).normal(size=(12, 3)))
        best = min(total(distances, medoids) for medoids in combinations(range(12), count))
        ratios.append(total(distances, choose_medoids(distances, count)) / best)
    assert max(ratios) <= 1.03
    assert np.mean(ratios) <= 1.002


def test_no_exchange_of_one_medoid_is_better() -> None:
    distances = distances_of(np.random.default_rng(1).normal(size=(60, 4)))
    medoids = choose_medoids(distances, 6)
    for place in range(6):
        for row in range(60):
            exchanged = medoids.copy()
            exchanged[place] = row
            assert total(distances, exchanged) >= total(distances, medoids) * (1 - 1e-6)


def test_clusters_that_lie_apart_get_one_medoid_each() -> None:
    rng = np.random.default_rng(0)
    points = np.repeat(10 * np.eye(5), 8, axis=0) + rng.normal(size=(40, 5))
    assert sorted(choose_medoids(distances_of(points), 5) // 8) == [0, 1, 2, 3, 4]


def test_copies_of_a_row_come_to_an_end() -> None:
    assert len(set(choose_medoids(np.zeros((7, 7)), 3))) == 3
