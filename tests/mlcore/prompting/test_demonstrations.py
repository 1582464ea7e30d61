"""Demonstrations: clean, verified first, one a class, and no two alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans

from mlcore.prompting.demonstrations import (
    count_demonstrations,
    deal_sets,
    select_demonstrations,
    share_places,
)
from mlcore.prompting.similarity import are_near, shingles
from mlcore.records import Demonstration, LabelSet
from tests.support.words import WORDS

LABELS = LabelSet.of("a", "b", "c")


def _corpus(rows: int = 90, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    label_index = np.arange(rows) % 3
    corpus = {
        "features": rng.normal(size=(rows, 8)) + 4 * np.eye(8)[label_index],
        "shown": [" ".join(rng.permutation(WORDS)[:6]) + f" {row}" for row in range(rows)],
        "keys": list(range(1000, 1000 + rows)),
        "label_index": label_index,
        "labels": LABELS,
        "clean_prob": np.full(rows, 0.9),
        "verified": np.zeros(rows, dtype=bool),
        "count": 6,
        "seed": 0,
    }
    return corpus | changes


def _labels(chosen: list[Demonstration]) -> dict[str, int]:
    return {name: sum(each.label == name for each in chosen) for name in LABELS.names}


def test_every_class_gets_the_same_number() -> None:
    chosen = select_demonstrations(**_corpus())
    assert _labels(chosen) == {"a": 2, "b": 2, "c": 2}
    assert len({each.key for each in chosen}) == 6


def test_they_are_real_rows_with_their_own_labels() -> None:
    corpus = _corpus()
    for each in select_demonstrations(**corpus):
        row = each.key - 1000
        assert (each.shown, each.label) == (corpus["shown"][row], LABELS.names[row % 3])


def test_rows_that_are_likely_wrong_are_never_chosen() -> None:
    clean = np.where(np.arange(90) < 30, 0.9, 0.1)
    assert all(each.key < 1030 for each in select_demonstrations(**_corpus(clean_prob=clean)))


def test_a_verified_row_goes_before_the_medoid_of_its_cluster() -> None:
    verified = np.zeros(90, dtype=bool)
    verified[[0, 1, 2]] = True
    chosen = {
        each.key for each in select_demonstrations(**_corpus(verified=verified, clean_prob=np.full(90, 0.9)))
    }
    assert {1000, 1001, 1002} <= chosen


def test_a_verified_row_counts_as_clean_whatever_the_small_model_thinks() -> None:
    verified = np.arange(90) < 3
    chosen = select_demonstrations(**_corpus(verified=verified, clean_prob=np.zeros(90)))
    assert sorted(each.key for each in chosen) == [1000, 1001, 1002]


@pytest.mark.parametrize("seed", range(8))
def test_medoids_cost_no_more_than_the_rows_nearest_to_the_means_of_k_means(seed: int) -> None:
    """Sum of distances to the nearest chosen row; FreeAL takes the rows nearest to the means."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(90, 6)) + 3 * rng.normal(size=(5, 6))[rng.integers(0, 5, 90)]

    def cost(rows: np.ndarray, label: int) -> float:
        members = features[label::3]
        distances = np.linalg.norm(members[:, None] - features[rows][None], axis=2)
        return float(distances.min(axis=1).sum())

    # 15 places take 25 rows of each label at least, and all 30 are verified, so that the pool is the whole label.
    chosen = select_demonstrations(
        **_corpus(features=features, count=15, seed=seed, verified=np.ones(90, dtype=bool))
    )
    for label in range(3):
        medoids = np.array([each.key - 1000 for each in chosen if each.label == "abc"[label]])
        assert len(medoids) == 5
        means = KMeans(5, n_init=1, random_state=seed).fit(features[label::3])
        nearest = np.linalg.norm(features[label::3][:, None] - means.cluster_centers_[None], axis=2).argmin(
            axis=0
        )
        assert cost(medoids, label) <= cost(label + 3 * nearest, label) + 1e-6


def test_near_duplicates_are_not_shown_twice() -> None:
    shown = ["The same words, again and again"] * 45 + _corpus()["shown"][45:]
    chosen = select_demonstrations(**_corpus(shown=shown))
    assert sum(each.shown.startswith("The same") for each in chosen) <= 1


def test_the_same_seed_gives_the_same_demonstrations() -> None:
    assert select_demonstrations(**_corpus()) == select_demonstrations(**_corpus())


@pytest.mark.parametrize(
    ("count", "supply", "places"),
    [
        (8, [50, 50], [4, 4]),
        (8, [50, 1, 50], [4, 1, 3]),
        (2, [5, 5, 5], [1, 1, 0]),
        (9, [2, 2], [2, 2]),
        (0, [5], [0]),
    ],
)
def test_places_are_dealt_in_turn(count: int, supply: list[int], places: list[int]) -> None:
    assert sorted(share_places(count, supply)) == sorted(places)
    assert all(given <= there for given, there in zip(share_places(count, supply), supply, strict=True))


def test_near_duplicates_are_found_whatever_their_case_and_punctuation() -> None:
    one = shingles("The plot is thin, but the acting carries it!")
    assert are_near(one, shingles("the plot is thin but THE ACTING carries it"))
    assert are_near(one, shingles("The plot is thin, but the acting carries it all."))
    assert not are_near(one, shingles("A plot so thick that no acting could carry it."))
    assert are_near(shingles("很快，好吃"), shingles("很快好吃"))


def test_sets_are_dealt_label_by_label() -> None:
    demonstrations = [Demonstration(key, f"text {key}", "ab"[key % 2]) for key in range(12)]
    dealt = deal_sets(demonstrations, sets=3, classes=2)
    assert [[each.label for each in group].count("a") for group in dealt] == [2, 2, 2]
    assert sorted(each.key for group in dealt for each in group) == list(range(12))


@pytest.mark.parametrize(("count", "sets"), [(0, 1), (3, 1), (4, 2), (100, 3)])
def test_every_set_can_show_every_label_or_there_is_one_set(count: int, sets: int) -> None:
    demonstrations = [Demonstration(key, "text", "ab"[key % 2]) for key in range(count)]
    assert len(deal_sets(demonstrations, sets=3, classes=2)) == sets


def test_sets_are_only_asked_for_where_each_can_show_every_label() -> None:
    assert count_demonstrations(8, sets=3, classes=8) == 24
    assert count_demonstrations(8, sets=3, classes=9) == 8
    assert count_demonstrations(0, sets=3, classes=2) == 0
