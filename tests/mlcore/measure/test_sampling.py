"""Rows drawn at random: strata, sizes and the order in which they are looked at."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcore.measure.sampling import FLOOR, allocate, draw_rows, make_strata, scarce_labels


def some_rows(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random(count) < 0.2, rng.random(count)


def test_strata_keep_agreement_apart_and_order_rows_by_risk() -> None:
    differ, risk = some_rows(1_000)
    strata = make_strata(differ, risk, draws=100)
    assert strata.sizes.sum() == 1_000
    for number, name in enumerate(strata.names):
        assert set(differ[strata.member == number]) == {name.startswith("differ")}
    agree = [
        risk[strata.member == number] for number, name in enumerate(strata.names) if name.startswith("agree")
    ]
    assert all(low.max() <= high.min() for low, high in itertools.pairwise(agree))


def test_a_few_draws_have_one_stratum() -> None:
    differ, risk = some_rows(1_000)
    assert make_strata(differ, risk, draws=10).names == ["all rows"]


@given(
    st.lists(st.tuples(st.integers(1, 400), st.floats(0, 1)), min_size=1, max_size=6),
    st.integers(1, 500),
)
def test_as_many_rows_as_asked_are_shared_and_no_stratum_gives_more_than_it_has(
    strata: list[tuple[int, float]], draws: int
) -> None:
    sizes, rates = (np.array(column) for column in zip(*strata, strict=True))
    taken = allocate(sizes, rates, draws)
    assert taken.sum() == min(draws, sizes.sum())
    assert (taken <= sizes).all()
    assert (taken >= 0).all()


def test_a_riskier_stratum_gives_more_rows_but_none_less_than_half_its_share() -> None:
    taken = allocate(np.array([900, 100]), np.array([0.001, 0.5]), 100)
    assert taken[1] > 10
    assert taken[0] >= 45


def test_every_beginning_of_the_order_mixes_the_strata() -> None:
    differ, risk = some_rows(2_000)
    strata = make_strata(differ, risk, draws=120)
    taken = allocate(strata.sizes, np.full(len(strata.names), 0.25), 120)
    order = draw_rows(strata, taken, np.random.default_rng(1))
    assert len(set(order)) == 120
    first = np.bincount(strata.member[order[:30]], minlength=len(taken))
    assert np.abs(first - taken / 4).max() <= 1.5


def test_every_row_of_a_stratum_is_drawn_equally_often() -> None:
    differ, risk = some_rows(40)
    strata = make_strata(differ, risk, draws=10)
    counts = np.zeros(40)
    for seed in range(2_000):
        counts[draw_rows(strata, np.array([10]), np.random.default_rng(seed))] += 1
    assert abs(counts / 2_000 - 0.25).max() < 0.05


def test_a_label_that_a_draw_would_hardly_hold_is_sure_of_a_few_rows() -> None:
    differ, risk = some_rows(2_000)
    label = np.where(np.arange(2_000) < 20, 2, np.arange(2_000) % 2)
    scarce = scarce_labels(np.bincount(label), np.zeros(3, dtype=int), draws=100)
    assert scarce == {2: FLOOR}
    strata = make_strata(differ, risk, draws=100, label=label, scarce=scarce)
    assert strata.sizes[strata.names.index("label 2")] == 20
    assert strata.sizes.sum() == 2_000
    taken = allocate(strata.sizes, np.full(len(strata.names), 0.25), 100, least=strata.least)
    assert taken.sum() == 100
    assert taken[strata.names.index("label 2")] == FLOOR


def test_scarce_labels_alone_get_a_floor() -> None:
    assert scarce_labels(np.array([900, 100]), np.array([0, 0]), draws=100) == {}
    assert scarce_labels(np.array([990, 10]), np.array([0, FLOOR]), draws=100) == {}
    assert scarce_labels(np.array([990, 3]), np.array([0, 0]), draws=100) == {1: 3}
    many = scarce_labels(np.array([9_000, *range(30, 80)]), np.zeros(51, dtype=int), draws=100)
    assert sum(many.values()) == 50
    assert min(many) == 41, "the largest come first"


def test_a_floor_leaves_the_draw_unbiased() -> None:
    differ, risk = some_rows(400)
    label = (np.arange(400) < 12).astype(int)
    strata = make_strata(differ, risk, draws=40, label=label, scarce={1: FLOOR})
    sizes = strata.sizes
    taken = allocate(sizes, np.full(len(sizes), 0.25), 40, least=strata.least)
    weights = (sizes / taken)[strata.member]
    stands_for = np.zeros(400)
    for seed in range(1_000):
        rows = draw_rows(strata, taken, np.random.default_rng(seed))
        stands_for[rows] += weights[rows]
    assert stands_for[label == 1].sum() / 1_000 == pytest.approx(12)
    assert abs(stands_for / 1_000 - 1).max() < 0.4


def test_rows_decided_in_bulk_are_strata_of_their_own() -> None:
    rng = np.random.default_rng(0)
    differ, risk = rng.random(400) < 0.3, rng.random(400)
    bulk = np.repeat([0, 1, 2], [300, 60, 40])
    strata = make_strata(differ, risk, draws=60, bulk=bulk)
    named = [strata.names[member] for member in strata.member]
    assert {name for name, number in zip(named, bulk, strict=True) if number == 1} == {"in bulk, accepted"}
    assert {name for name, number in zip(named, bulk, strict=True) if number == 2} == {"in bulk, relabelled"}
    assert not any(name.startswith("in bulk") for name in named[:300])
    assert len(strata.least) == len(strata.names) == len(set(strata.names))
    everything = make_strata(differ, risk, draws=60, bulk=np.ones(400, dtype=int))
    assert everything.names == ["in bulk, accepted"]
