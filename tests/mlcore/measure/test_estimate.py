"""How accurate a file is, from a few checked rows: proven by simulated audits on MR with ChatGPT's labels."""

from __future__ import annotations

import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import betainc, betaincinv

from mlcore.measure.beta import beta_quantile, beta_share
from mlcore.measure.estimate import (
    Draw,
    Interval,
    estimate_classes,
    estimate_share,
    estimate_wrong,
    rows_for_margin,
)
from tests.support.audits import coverage, leave_errors

MR = Path("../shared/data/mr.csv")


@cache
def chatgpt_on_mr() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the rows with a readable label: whether it is wrong, whether a small model differs, and a risk that orders
    them a little: the share of a bag of words' neighbours, by hashed words, with another label."""
    if not MR.exists():
        pytest.skip(f"{MR} is not there")
    frame = pd.read_csv(MR, keep_default_na=False)
    frame = frame[(frame["split"] == "train") & (frame["llm_label"] != "")]
    given = (frame["llm_label"] == "positive").to_numpy()
    words = [{zlib.crc32(word.encode()) % 4096 for word in text.split()} for text in frame["text"]]
    positive, counts = np.ones(4096), np.full(4096, 2.0)
    for row, label in zip(words, given, strict=True):
        positive[list(row)] += label
        counts[list(row)] += 1
    odds = np.log(positive / (counts - positive))
    score = np.array([odds[list(row)].sum() for row in words]) - np.log(given.mean() / (1 - given.mean()))
    probs = 1 / (1 + np.exp(-np.clip(score, -30, 30)))
    differ = (frame["freeal_slm_pred_ep1"] != frame["llm_label"]).to_numpy()
    return (frame["label"] != frame["llm_label"]).to_numpy(), differ, np.where(given, 1 - probs, probs)


@pytest.mark.parametrize("rows", [10, 50, 100, 400])
@pytest.mark.parametrize("file", ["as labelled", "99.5 % right", "a stratum without errors"])
def test_the_interval_covers_the_truth(file: str, rows: int) -> None:
    wrong, differ, risk = chatgpt_on_mr()
    if file == "99.5 % right":
        wrong = leave_errors(wrong, 0.005)
    elif file == "a stratum without errors":
        wrong = wrong & differ
    covered, mean, _width = coverage(wrong, differ, risk, rows)
    assert covered >= 0.93
    assert mean == pytest.approx(wrong.mean(), abs=0.15 * np.sqrt(wrong.mean() / rows)), (
        "the estimate has no bias"
    )


@pytest.mark.parametrize("rows", [50, 100, 400])
@pytest.mark.parametrize("error_rate", [0.0, 0.1, 0.6])
def test_the_interval_covers_the_truth_when_rare_labels_get_a_floor_of_rows(
    error_rate: float, rows: int
) -> None:
    wrong, differ, risk = chatgpt_on_mr()
    rng = np.random.default_rng(0)
    label = rng.choice(4, size=len(wrong), p=[0.5, 0.47, 0.02, 0.01])
    wrong = np.where(label >= 2, rng.random(len(wrong)) < error_rate, wrong)
    covered, mean, _width = coverage(wrong, differ, risk, rows, label=label)
    assert covered >= 0.93
    assert mean == pytest.approx(wrong.mean(), abs=0.15 * np.sqrt(wrong.mean() / rows))


@pytest.mark.parametrize("rows", [50, 400])
def test_the_interval_covers_the_wrong_rows_left_after_a_review_and_a_second_draw(rows: int) -> None:
    """A first draw, then the riskiest fifth is reviewed, then a second draw of what is still open."""
    wrong, _differ, risk = chatgpt_on_mr()
    rng = np.random.default_rng(0)
    queue = np.argsort(-risk, kind="stable")[: len(risk) // 5]
    covered = []
    for _audit in range(300):
        first = rng.permutation(len(wrong))[:rows]
        decided = np.zeros(len(wrong), dtype=bool)
        decided[first] = decided[queue] = True
        second = rng.permutation(np.flatnonzero(~decided))[:rows]
        after = decided.copy()
        after[second] = True
        draws = [
            Draw(
                np.array([len(wrong)]), np.array([rows]), wrong[first].sum(keepdims=True), -wrong[after].sum()
            ),
            Draw(
                (~decided).sum(keepdims=True),
                np.array([rows]),
                wrong[second].sum(keepdims=True),
                -wrong[second].sum(),
            ),
        ]
        interval = estimate_wrong(draws, least=0, most=int((~after).sum()))
        assert interval is not None
        covered.append(interval.low <= wrong[~after].sum() <= interval.high)
    assert np.mean(covered) >= 0.93


def test_a_file_that_is_wholly_checked_has_no_interval_left() -> None:
    interval = estimate_wrong(
        [Draw(np.array([60, 40]), np.array([60, 40]), np.array([3, 9]))], least=0, most=100
    )
    assert interval == Interval(12.0, 12.0, 12.0)


def test_ten_rows_without_an_error_say_little() -> None:
    interval = estimate_wrong([Draw(np.array([1_000]), np.array([10]), np.array([0]))], least=0, most=1_000)
    assert interval is not None
    assert (interval.value, interval.low) == (0.0, 0.0)
    assert 200 < interval.high < 350


def test_a_stratum_that_nobody_looked_at_is_counted_with_its_neighbour() -> None:
    draw = Draw(np.array([500, 300, 200]), np.array([5, 0, 5]), np.array([0, 0, 5]))
    joined = draw.merge_unchecked()
    assert list(joined.rows) == [500, 500]
    assert estimate_wrong([draw], least=0, most=1_000).value == 500  # type: ignore[union-attr]


def test_nothing_checked_is_no_estimate() -> None:
    assert estimate_wrong([Draw(np.array([9]), np.array([0]), np.array([0]))], least=0, most=9) is None


def test_rows_of_which_a_draw_says_nothing_widen_the_interval_by_their_number() -> None:
    rows, checked, wrong = np.array([10_000]), np.array([100]), np.array([10])
    sure = estimate_wrong([Draw(rows, checked, wrong)], least=0, most=10_000)
    unsure = estimate_wrong([Draw(rows, checked, wrong, unmeasured=300)], least=0, most=10_000)
    assert sure is not None
    assert unsure is not None
    assert unsure.value == sure.value
    assert (unsure.low, unsure.high) == (sure.low - 300, sure.high + 300)


def test_a_draw_that_covers_few_rows_hardly_counts() -> None:
    """Ten times as many rows were checked before a fifth of the file was given another label."""
    rows = np.array([100_000])
    knows = Draw(rows, np.array([100]), np.array([30]))
    alone = estimate_wrong([knows], least=0, most=100_000)
    before = Draw(rows, np.array([1_000]), np.array([50]), unmeasured=20_000)
    both = estimate_wrong([before, knows], least=0, most=100_000)
    assert alone is not None
    assert both is not None
    assert both.value == pytest.approx(alone.value, rel=0.05)
    assert both.high - both.low < 1.15 * (alone.high - alone.low)
    few = Draw(rows, np.array([1_000]), np.array([50]), unmeasured=50)
    both = estimate_wrong([few, knows], least=0, most=100_000)
    assert both is not None
    assert both.high - both.low < 0.5 * (alone.high - alone.low)


@pytest.mark.parametrize(("count", "rows"), [(0, 40), (31, 40), (40, 40)])
def test_a_share_lies_in_its_interval(count: int, rows: int) -> None:
    interval = estimate_share(count, rows)
    assert interval.low <= count / rows <= interval.high
    assert interval.high - interval.low < 0.3


def test_more_rows_are_needed_for_a_narrower_interval_but_never_more_than_there_are() -> None:
    assert rows_for_margin(0.06, 0.01, 100_000) > 4 * rows_for_margin(0.06, 0.025, 100_000)
    assert rows_for_margin(0.5, 0.001, 300) <= 300


def test_the_beta_distribution_is_scipys() -> None:
    for a in (0.3, 1.0, 4.5, 80.0, 900.0):
        for b in (0.5, 2.0, 60.0, 3_000.0):
            for share in (0.025, 0.5, 0.975):
                assert beta_quantile(share, a, b) == pytest.approx(betaincinv(a, b, share), abs=1e-8)
                assert beta_share(share, a, b) == pytest.approx(betainc(a, b, share), abs=1e-9)


def simulated_classes(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    truth = rng.choice(3, size=3_000, p=[0.6, 0.3, 0.1])
    machine = np.where(rng.random(3_000) < 0.15, rng.integers(0, 3, 3_000), truth)
    return machine, truth


def test_precision_recall_and_macro_f1_cover_the_truth() -> None:
    rng = np.random.default_rng(3)
    covered = []
    for seed in range(60):
        machine, truth = simulated_classes(rng)
        drawn = rng.permutation(3_000)[:200]
        decided = np.zeros(3_000, dtype=bool)
        decided[drawn] = True
        current = np.where(decided, truth, machine)
        wrong = (machine[drawn] != truth[drawn]).sum(keepdims=True)
        left = estimate_wrong(
            [Draw(np.array([3_000]), np.array([200]), wrong, -wrong.sum())], least=0, most=2_800
        )
        assert left is not None
        classes, macro = estimate_classes(
            machine[drawn],
            truth[drawn],
            np.ones(200),
            open_rows=np.bincount(current[~decided], minlength=3),
            decided=np.bincount(truth[decided], minlength=3),
            wrong_left=left,
            seed=seed,
        )
        scores = []
        for label, quality in enumerate(classes):
            right = ((current == label) & (truth == label)).sum()
            precision, recall = right / (current == label).sum(), right / (truth == label).sum()
            scores.append(2 * right / ((current == label).sum() + (truth == label).sum()))
            for interval, value in ((quality.precision, precision), (quality.recall, recall)):
                assert interval is not None
                covered.append(interval.low <= value <= interval.high)
        assert macro is not None
        covered.append(macro.low <= np.mean(scores) <= macro.high)
    assert np.mean(covered) >= 0.9


def test_a_class_that_was_hardly_checked_is_said_to_be_unknown() -> None:
    classes, macro = estimate_classes(
        np.array([0] * 30 + [1] * 2),
        np.array([0] * 30 + [1, 0]),
        np.ones(32),
        open_rows=np.array([300, 20]),
        decided=np.array([0, 0]),
        wrong_left=Interval(10.0, 2.0, 40.0),
    )
    assert classes[0].precision is not None
    assert classes[1].precision is None
    assert (classes[0].missing, classes[1].checked, classes[1].missing) == (0, 2, 3)
    assert macro is None


def test_a_class_decided_by_people_needs_no_audited_row() -> None:
    classes, macro = estimate_classes(
        np.zeros(30, dtype=int),
        np.zeros(30, dtype=int),
        np.ones(30),
        open_rows=np.array([300, 0]),
        decided=np.array([30, 4]),
        wrong_left=Interval(0.0, 0.0, 20.0),
    )
    assert classes[1].checked == 0
    assert classes[1].precision == Interval(1.0, 1.0, 1.0)
    assert classes[1].recall is not None
    assert classes[1].recall.low < 0.4
    assert macro is not None
    assert macro.low < 0.8 < macro.value


def test_a_class_that_no_row_has_is_left_out_of_macro_f1() -> None:
    classes, macro = estimate_classes(
        np.zeros(30, dtype=int),
        np.zeros(30, dtype=int),
        np.ones(30),
        open_rows=np.array([300, 0]),
        decided=np.array([30, 0]),
        wrong_left=Interval(0.0, 0.0, 20.0),
    )
    assert (classes[1].precision, classes[1].recall, classes[1].missing) == (None, None, 0)
    assert macro is not None
    assert macro.value == 1


def test_errors_that_the_queue_has_mended_are_not_counted_again_in_the_classes() -> None:
    """Thirty of two hundred audited labels were wrong, but people have mended nearly all other errors since."""
    machine = np.repeat([0, 1], 100)
    truth = machine.copy()
    truth[:15], truth[100:115] = 1, 0
    classes, macro = estimate_classes(
        machine,
        truth,
        np.ones(200),
        open_rows=np.array([400, 400]),
        decided=np.array([100, 100]),
        wrong_left=Interval(8.0, 3.0, 20.0),
    )
    assert macro is not None
    assert macro.value == pytest.approx(1 - 8 / 1_000, abs=1e-6)
    assert classes[0].precision is not None
    assert classes[0].precision.value == pytest.approx(1 - 4 / 500)
