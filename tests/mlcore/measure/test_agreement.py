"""Agreement between people and models, against known values and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from mlcore.measure.agreement import cohen_kappa, krippendorff_alpha, paired_test
from mlcore.records import NO_LABEL


def test_kappa_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    second[:120] = first[:120]
    assert cohen_kappa(first, second, 4) == pytest.approx(cohen_kappa_score(first, second))


def test_kappa_looks_only_at_rows_that_both_labelled() -> None:
    first, second = np.array([0, 1, 1, NO_LABEL]), np.array([0, 1, NO_LABEL, 0])
    assert cohen_kappa(first, second, 2) == 1.0
    assert cohen_kappa(first[3:], second[3:], 2) is None


def test_alpha_is_krippendorffs_own_example() -> None:
    """Four observers, twelve units, with gaps ("Computing Krippendorff's alpha-reliability", 2011): 0.743 if nominal."""
    lines = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
    table = np.array([[NO_LABEL if mark == "." else int(mark) - 1 for mark in line] for line in lines])
    assert krippendorff_alpha(table, 5) == pytest.approx(0.743, abs=5e-4)


def test_alpha_of_two_raters_without_gaps_is_near_kappa() -> None:
    rng = np.random.default_rng(1)
    first = rng.integers(0, 3, 3_000)
    second = np.where(rng.random(3_000) < 0.3, rng.integers(0, 3, 3_000), first)
    kappa = cohen_kappa(first, second, 3)
    assert krippendorff_alpha(np.stack([first, second]), 3) == pytest.approx(kappa, abs=0.002)


def test_alpha_needs_two_words_on_a_row() -> None:
    assert krippendorff_alpha(np.array([[0, NO_LABEL], [NO_LABEL, 1]]), 2) is None


def test_the_paired_test_is_the_exact_sign_test() -> None:
    before = np.array([True] * 40 + [False] * 12)
    after = np.array([False] * 9 + [True] * 31 + [True] * 2 + [False] * 10)
    better, worse, chance = paired_test(before, after)
    assert (better, worse) == (2, 9)
    assert chance == pytest.approx(binomtest(2, 11).pvalue)
    assert paired_test(before, before)[2] == 1.0
