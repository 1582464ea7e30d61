from __future__ import annotations

import numpy as np
import pytest

from mlcore.errors import InvalidInputError
from mlcore.plan.certificate import Evidence, bound_accuracy, certify
from mlcore.plan.records import Answer, Goal
from mlcore.records import NO_LABEL, IntArray

GOAL = Goal()


def answers_for(
    rows: IntArray, labels: IntArray, truth: IntArray, *, drawn: bool = True, before: int = 0
) -> list[Answer]:
    """Right answers for these rows, drawn evenly from all rows but those answered before."""
    return [
        Answer(
            int(row),
            int(labels[row]),
            int(truth[row]),
            1.0 / (len(labels) - before - index) if drawn else None,
        )
        for index, row in enumerate(rows)
    ]


def evidence_of(
    labels: IntArray, answers: list[Answer], *, people_error: float | None = None, attempt: int = 1
) -> Evidence:
    """The file after the answers, in which nothing else was changed; its last rows are the riskiest."""
    now = labels.copy()
    for answer in answers:
        if answer.label != NO_LABEL:
            now[answer.row] = answer.label
    decided, changed = np.zeros((2, len(labels)), dtype=bool)
    risk = np.linspace(0.0, 0.2, len(labels))
    return Evidence(now, answers, decided, changed, risk, people_error, attempt)


def file_with(rows: int, wrong: int, *, count: int = 2, seed: int = 0) -> tuple[IntArray, IntArray]:
    """Labels and the truth; the wrong rows are among the last, as the risk says."""
    truth = np.random.default_rng(seed).integers(0, count, rows)
    labels = truth.copy()
    labels[rows - wrong :] = (labels[rows - wrong :] + 1) % count
    return labels, truth


def test_without_answers_nothing_is_certified() -> None:
    labels, _ = file_with(100, 0)
    certificate = certify(evidence_of(labels, []), 2, GOAL)
    assert (certificate.accuracy.low, certificate.accuracy.high) == (0.0, 1.0)
    assert not certificate.holds
    assert certificate.part.rows == 0


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("wrong", [0, 50])
def test_a_file_whose_rows_were_all_asked_is_right(count: int, wrong: int) -> None:
    labels, truth = file_with(50, wrong if count > 1 else 0, count=count)
    rows = np.random.default_rng(1).permutation(50)
    certificate = certify(evidence_of(labels, answers_for(rows, labels, truth)), count, GOAL)
    assert certificate.accuracy.low == 1.0
    assert len(certificate.disagreed) == (wrong if count > 1 else 0)
    assert all(bound.precision.low == 1.0 for bound in certificate.classes)
    assert certificate.part.rows == 50


def test_a_good_file_is_certified_from_some_hundred_draws() -> None:
    labels, truth = file_with(5_000, 50)
    rows = np.random.default_rng(2).permutation(5_000)[:250]
    certificate = certify(evidence_of(labels, answers_for(rows, labels, truth)), 2, GOAL)
    assert certificate.holds
    assert certificate.accuracy.low < 0.99 < certificate.accuracy.high
    assert certificate.drawn == certificate.decided == 250


def test_a_bad_file_is_not_certified_whatever_is_drawn() -> None:
    labels, truth = file_with(1_000, 1_000)
    rows = np.random.default_rng(2).permutation(1_000)[:300]
    certificate = certify(evidence_of(labels, answers_for(rows, labels, truth)), 2, GOAL)
    assert certificate.accuracy.high < 0.4
    assert certificate.part.rows == 300


def test_rows_chosen_by_people_make_the_file_better_and_are_no_evidence() -> None:
    labels, truth = file_with(1_000, 100)
    chosen = answers_for(np.arange(900, 1_000), labels, truth, drawn=False)
    assert certify(evidence_of(labels, chosen), 2, GOAL).accuracy.low == pytest.approx(0.1)
    rows = np.random.default_rng(3).permutation(900)[:80]
    drawn = answers_for(rows, labels, truth, before=100)
    assert certify(evidence_of(labels, chosen + drawn), 2, GOAL).holds


def test_changed_rows_count_as_wrong() -> None:
    labels, truth = file_with(2_000, 0)
    evidence = evidence_of(
        labels, answers_for(np.random.default_rng(4).permutation(2_000)[:400], labels, truth)
    )
    before = certify(evidence, 2, GOAL)
    open_rows = np.flatnonzero(~evidence.settled)[:100]
    evidence.changed[open_rows] = True
    after = certify(evidence, 2, GOAL)
    assert after.uncovered == 100
    assert after.accuracy.low == pytest.approx(before.accuracy.low - 0.05)


def test_a_drawn_row_that_was_passed_over_counts_as_wrong() -> None:
    labels, truth = file_with(500, 0)
    answers = answers_for(np.random.default_rng(5).permutation(500)[:100], labels, truth)
    passed = [
        *answers[:10],
        Answer(answers[10].row, answers[10].asked, NO_LABEL, answers[10].chance),
        *answers[11:],
    ]
    certificate = certify(evidence_of(labels, passed), 2, GOAL)
    assert (certificate.unanswered, certificate.decided) == (1, 99)
    assert certificate.accuracy.low < certify(evidence_of(labels, answers), 2, GOAL).accuracy.low


def test_rows_drawn_last_and_not_answered_yet_change_nothing() -> None:
    labels, truth = file_with(500, 0)
    answers = answers_for(np.random.default_rng(5).permutation(500)[:100], labels, truth)
    waiting = [Answer(answer.row, answer.asked, NO_LABEL, answer.chance) for answer in answers[60:]]
    with_waiting = certify(evidence_of(labels, answers[:60] + waiting), 2, GOAL)
    assert with_waiting.accuracy == certify(evidence_of(labels, answers[:60]), 2, GOAL).accuracy


def test_the_certified_part_leaves_out_the_risky_rows() -> None:
    labels, truth = file_with(3_000, 300)
    rows = np.random.default_rng(6).permutation(3_000)[:500]
    certificate = certify(evidence_of(labels, answers_for(rows, labels, truth)), 2, GOAL)
    assert not certificate.holds
    assert 1_500 < certificate.part.rows < 3_000
    assert certificate.part.low >= 0.95
    assert certificate.part.rows + len(certificate.part.others) == 3_000
    others = set(certificate.part.others.tolist())
    assert (np.setdiff1d(np.arange(2_700, 3_000), rows)[-100:].tolist()[0]) in others


def test_a_people_error_is_charged_and_makes_the_bound_of_open_rows_fairer() -> None:
    labels, truth = file_with(400, 0)
    everything = evidence_of(labels, answers_for(np.arange(400), labels, truth), people_error=0.03)
    low = certify(everything, 2, GOAL).accuracy.low
    assert 0.94 < low < 0.97
    rng = np.random.default_rng(7)
    labels, truth = file_with(5_000, 100)
    said = np.where(rng.random(5_000) < 0.03, 1 - truth, truth)
    answers = answers_for(rng.permutation(5_000)[:1_500], labels, said)
    unknown, known = (
        certify(evidence_of(labels, answers, people_error=error), 2, GOAL).accuracy for error in (None, 0.03)
    )
    assert unknown.estimate < known.estimate
    assert known.low > unknown.low


def test_a_later_version_of_the_labels_has_less_of_the_error_probability() -> None:
    labels, truth = file_with(2_000, 20)
    answers = answers_for(np.random.default_rng(8).permutation(2_000)[:200], labels, truth)
    lows = [
        certify(evidence_of(labels, answers, attempt=attempt), 2, GOAL).accuracy.low for attempt in (1, 2, 3)
    ]
    assert lows[0] > lows[1] > lows[2]


def test_classes_are_bounded_from_their_own_draws() -> None:
    truth = np.repeat([0, 1], [1_500, 500])
    labels = truth.copy()
    labels[1_500:1_600] = 0  # 100 rows of class 1 were given class 0
    rows = np.random.default_rng(11).permutation(2_000)[:600]
    certificate = certify(evidence_of(labels, answers_for(rows, labels, truth)), 2, GOAL)
    frequent, rare = certificate.classes
    assert frequent.rows + rare.rows == 2_000
    left = 100 - len(np.intersect1d(rows, np.arange(1_500, 1_600)))
    assert frequent.precision.low < 1.0 - left / frequent.rows < frequent.precision.high
    assert rare.precision.low > 0.95
    assert frequent.drawn + rare.drawn == 600


def test_a_promise_holds_for_people_who_look_after_each_answer() -> None:
    """Of files that never reach what is promised while people look, at most 5 % are ever called good."""
    rng, broken, runs = np.random.default_rng(10), 0, 150
    labels, truth = file_with(200, 30)
    everything = np.ones(200, dtype=bool)
    for _ in range(runs):
        order = rng.permutation(200)
        answers = answers_for(order, labels, truth)
        wrong_left = 30 - np.cumsum(labels[order] != truth[order])
        for end in range(20, int((wrong_left > 10).sum()), 10):
            if bound_accuracy(evidence_of(labels, answers[:end]), everything, GOAL).low >= 0.95:
                broken += 1
                break
    assert broken / runs <= 0.05 + 2 * np.sqrt(0.05 / runs)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(0, 0, 0, 0.5), "certificate_chance"),
        (Answer(0, 0, 0, 0.1, 0.2), "certificate_chance"),
    ],
)
def test_probabilities_that_cannot_be_are_refused(answer: Answer, code: str) -> None:
    labels, _ = file_with(10, 0)
    with pytest.raises(InvalidInputError) as error:
        certify(evidence_of(labels, [answer]), 2, GOAL)
    assert error.value.message.code == code


def test_a_row_with_two_answers_is_refused() -> None:
    labels, truth = file_with(10, 0)
    answers = answers_for(np.array([3, 3]), labels, truth)
    with pytest.raises(InvalidInputError):
        evidence_of(labels, answers)
