"""The certificate: how many labels of the file as it is are right, in a statement that holds whenever people stop.

The pool of the statement is the rows that were open when the evidence began. A drawn row tells of the rows that are still
open; a row that people decided is right by their answer. So the file is right where the bound on the open rows, the rows
that the draws don't cover, and people's own errors together leave enough. docs/certificate.md says it in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from mlcore.errors import InvalidInputError
from mlcore.plan.betting import MOST_STAKE, Draws, bound_wrong
from mlcore.plan.records import Answer, Bound, Certificate, CertifiedPart, ClassBound, Goal
from mlcore.records import NO_LABEL, BoolArray, FloatArray, IntArray

PEOPLE_SHARE = (
    0.2  # of the error probability, for chance in people's errors, where their rate is not 0. Not varied.
)
FIRST_ATTEMPT = (
    0.8  # share of the error probability of the first version; each later one has a fifth of the one before
)
PART_STEPS = 20  # nested parts of the file that are tested one after the other


@dataclass(frozen=True, slots=True)
class Evidence:
    """A file and what people said of it. All arrays ``(N,)``.

    Attributes:
        labels: the file's labels now, people's among them; ``NO_LABEL`` where there is none.
        answers: since the evidence began, each row at most once.
        decided: rows that people decided one by one before the evidence began.
        changed: rows whose label was changed since the evidence began, other than by an answer, for instance in bulk.
        risk: each row's probability of being wrong as it was known when the evidence began: the order of the parts.
        people_error: the measured rate of people's own errors; None if it is unknown.
        attempt: 1 for the first version of the models' labels for which a certificate was looked at, 2 for the second.
    """

    labels: IntArray
    answers: Sequence[Answer]
    decided: BoolArray
    changed: BoolArray
    risk: FloatArray
    people_error: float | None = None
    attempt: int = 1

    def __post_init__(self) -> None:
        rows = [answer.row for answer in self.answers]
        if len(set(rows)) < len(rows) or self.decided[rows].any():
            raise InvalidInputError("certificate_row_twice")
        if self.people_error is not None and not 0.0 <= self.people_error < 0.5:
            raise InvalidInputError("certificate_people_error", rate=self.people_error)

        # Rows that were drawn last and not answered yet are as good as not drawn.
        while rows and self.answers[len(rows) - 1].label == NO_LABEL:
            rows.pop()
        object.__setattr__(self, "answers", self.answers[: len(rows)])

    @property
    def asked(self) -> BoolArray:
        """Rows ``(N,)`` that were drawn or chosen since the evidence began, answered or passed over."""
        mask = np.zeros(len(self.labels), dtype=bool)
        mask[[answer.row for answer in self.answers]] = True
        return mask

    @property
    def passed(self) -> BoolArray:
        """Rows ``(N,)`` that were drawn and not answered, while rows drawn after them were."""
        mask = np.zeros(len(self.labels), dtype=bool)
        mask[[answer.row for answer in self.answers if answer.label == NO_LABEL]] = True
        return mask

    @property
    def uncovered(self) -> BoolArray:
        """Rows ``(N,)`` that count as wrong: passed over, without a label, or changed since the evidence began."""
        untouched = ~self.decided & ~self.asked
        return np.asarray(self.passed | untouched & (self.changed | (self.labels == NO_LABEL)))

    @property
    def settled(self) -> BoolArray:
        """Rows ``(N,)`` that people decided one by one."""
        return self.decided | self.asked & ~self.passed


def certify(evidence: Evidence, count: int, goal: Goal) -> Certificate:
    """What can be said of the file now, with ``goal.confidence``, whatever made people look or stop now.

    Args:
        count: number of labels ``K``.

    Raises:
        InvalidInputError: a row was answered twice or a probability is impossible.
    """
    # A class holds the rows that have its label; a drawn row belongs to the class that it was drawn in.
    member = evidence.labels.copy()
    for answer in evidence.answers:
        member[answer.row] = answer.asked
    answered = [answer for answer in evidence.answers if answer.label != NO_LABEL]
    return Certificate(
        target=goal.target,
        confidence=goal.confidence,
        rows=len(evidence.labels),
        drawn=sum(answer.chance is not None for answer in answered),
        decided=int(evidence.settled.sum()),
        people_error=evidence.people_error,
        accuracy=bound_accuracy(evidence, np.ones(len(member), dtype=bool), goal),
        classes=tuple(_class_bound(evidence, label, member == label, goal) for label in range(count)),
        part=largest_part(evidence, goal),
        disagreed=tuple(answer.row for answer in answered if answer.label != answer.asked),
        uncovered=int(evidence.uncovered.sum()),
        unanswered=int(evidence.passed.sum()),
    )


def _class_bound(evidence: Evidence, label: int, pool: BoolArray, goal: Goal) -> ClassBound:
    """The bound of the rows that have this label in the file; rows that people moved to it are right by their answer."""
    given, settled = evidence.labels == label, evidence.settled
    moved = int((given & settled & ~pool).sum()) - int((pool & settled & ~given).sum())
    return ClassBound(
        label=label,
        rows=int(given.sum()),
        decided=int((given & settled).sum()),
        drawn=sum(answer.chance is not None and bool(pool[answer.row]) for answer in evidence.answers),
        precision=bound_accuracy(evidence, pool, goal, more_decided=moved),
    )


def error_share(confidence: float, attempt: int) -> float:
    """The error probability of one version of the labels; those of all versions together are no more than that of the goal."""
    return (1.0 - confidence) * FIRST_ATTEMPT * (1.0 - FIRST_ATTEMPT) ** (attempt - 1)


def could_pass(most: Sequence[float], rows: int, goal: Goal, attempt: int) -> bool:
    """Whether draws with these largest weights could have shown the target in a file of so many rows, whatever people said.

    This follows from the draws' chances alone, so whoever goes on to other labels before it has taken no chance.
    """
    bar = np.log(1.0 / error_share(goal.confidence, attempt))
    # Each later draw may find one wrong row, and so many more were open before it.
    left = (1.0 - goal.target) * rows + np.arange(len(most), 0, -1)
    largest = np.asarray(most, dtype=float)
    if (largest <= left).any():
        return True
    return bool(np.log1p(MOST_STAKE * left / (largest - left)).sum() >= bar)


def bound_accuracy(evidence: Evidence, part: BoolArray, goal: Goal, *, more_decided: int = 0) -> Bound:
    """The share of right labels among the rows of a part ``(N,)`` that was fixed before its rows were drawn.

    Args:
        more_decided: rows that people decided and that count beside those of the part.
    """
    error = evidence.people_error or 0.0
    alpha = error_share(goal.confidence, evidence.attempt)
    untouched = ~evidence.decided & ~evidence.asked & part
    uncovered = int((evidence.uncovered & part).sum())
    covered = int((untouched & ~evidence.uncovered).sum())
    decided = int((evidence.settled & part).sum()) + more_decided
    rows = covered + uncovered + decided
    if not rows:
        return Bound(1.0, 1.0, 1.0)
    draws, known = draws_of(evidence, part)
    spread = alpha * PEOPLE_SHARE if error else 0.0
    pool = int(untouched.sum())
    fewest, most = bound_wrong(draws, known, pool, alpha - spread)
    if len(draws):
        expected = float(np.mean(draws.known + draws.weight)) - known
    else:
        expected = float(evidence.risk[untouched & ~evidence.uncovered].sum())
    # A changed row may have been wrong before or not: it is taken off the fewest, and counts as wrong in the most.
    fewest = max(fewest - (pool - covered), 0)
    # People call a share of the right labels wrong, and a share of the wrong ones right (at most the same share of them).
    chance = np.sqrt(rows * error * (1.0 - error)) * NormalDist().inv_cdf(1.0 - spread) if error else 0.0
    low, estimate, high = (
        min(max((wrong - error * covered) / (1.0 - miss), 0.0), covered) + error * decided + noise + uncovered
        for wrong, miss, noise in (
            (most, 2 * error, chance),
            (expected, 2 * error, 0.0),
            (fewest, error, -chance - uncovered),
        )
    )
    low, high = (min(max(1.0 - wrong / rows, 0.0), 1.0) for wrong in (low, high))
    return Bound(low, min(max(1.0 - estimate / rows, low), high), high)


def draws_of(evidence: Evidence, part: BoolArray) -> tuple[Draws, int]:
    """The draws from a part ``(N,)``, and how many of its rows are known to have been wrong.

    Where all open rows had the same probability, the rows drawn outside of the part say nothing of it and are left out, and
    those in it are a uniform draw from it; otherwise they are draws that found nothing.
    """
    open_all, open_part, known = int((~evidence.decided).sum()), int((part & ~evidence.decided).sum()), 0
    draws = list[tuple[float, ...]]()
    for answer in evidence.answers:
        inside = bool(part[answer.row])
        wrong = inside and answer.label != answer.asked
        if answer.chance is not None:
            least = answer.chance if answer.least is None else answer.least
            known_odds = answer.least is not None or abs(answer.chance * open_all - 1.0) < 1e-6
            if not (known_odds and 0.0 < least <= min(answer.chance, 1.0 / open_all) * (1.0 + 1e-6)):
                raise InvalidInputError("certificate_chance", chance=answer.chance, row=answer.row)
            # What was forecast is of all open rows.
            forecast = (answer.expected, answer.spread) if open_part == open_all else (None, None)
            told = (np.nan if value is None else value for value in forecast)
            if answer.least is not None:
                draws.append((wrong / answer.chance, 1.0 / least, open_part, known, *told))
            elif inside:
                draws.append((float(wrong * open_part), open_part, open_part, known, *told))
        open_all, open_part, known = open_all - 1, open_part - inside, known + wrong
    weight, most, opened, before, expected, spread = np.array(draws).reshape(-1, 6).T
    return Draws(weight, most, opened.astype(int), before.astype(int), expected, spread), known


def largest_part(evidence: Evidence, goal: Goal) -> CertifiedPart:
    """The largest part of the file that is shown to reach the target: what people decided and the open rows of least risk.

    Nested parts are tested in an order fixed before any row was drawn, from the largest whose mean risk is half of what the
    target allows upwards, until one fails: fixed-sequence testing, so all parts together err with one error probability
    (Maurer, Hothorn and Lehmacher 1995; Angelopoulos et al., Learn then test, 2021, section 2).
    """
    pool = np.flatnonzero(~evidence.decided)
    order = pool[np.argsort(evidence.risk[pool], kind="stable")]
    mean_risk = np.cumsum(evidence.risk[order]) / np.arange(1, len(order) + 1)
    ends = np.unique(np.linspace(0, len(order), PART_STEPS + 1).astype(int)[1:])
    start = int((mean_risk <= (1.0 - goal.target) / 2).sum())
    settled, best, low = evidence.settled, evidence.settled, 1.0
    for end in [end for end in ends if end >= start]:
        part = evidence.decided.copy()
        part[order[:end]] = True
        bound = bound_accuracy(evidence, part, goal, more_decided=int((settled & ~part).sum()))
        if bound.low < goal.target:
            break
        best, low = part | settled, bound.low
    others = np.flatnonzero(~best)
    return CertifiedPart(int(best.sum()), low, others[np.argsort(-evidence.risk[others], kind="stable")])
