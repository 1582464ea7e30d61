"""One label and one risk for every row, from all the evidence.

Who is right where the LLM and the small models differ? Without checked rows this is read from how often three opinions
contradict each other: the LLM (T), a model on the encoder's features (E) and a model on something else (G: n-grams, or
trees on a table). Rows that are hard for the small models make E and G err alone about as often as together. So if E
and G contradict T together no more often than each does alone, T is the better one (a weak student must not overrule a
strong teacher); what they contradict together beyond that are T's errors. The weight of T's word is then chosen so that
the mean probability of T being right, over the rows where both contradict it, is the estimated one. With enough checked
rows the weights are fitted to those instead, starting from these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from mlcore.evidence import calibrate, log_softmax, pool
from mlcore.records import NO_LABEL, BoolArray, FloatArray, IntArray

MOST_WEIGHT = 12.0
PRIOR_ROWS = 10.0  # imagined rows on which T is right, against chance in small corpora
# Measured on 33 combinations of corpus and noise: with the plain estimate, mistakes that depend on the row (as a
# language model's do) keep too much of T's word; doubling its log-odds mends that and leaves strong teachers alone.
DECISIVENESS = 2.0
# Share of the rows on which the small models' pooled opinion is wrong, per unit of q; both-wrong and half of the rest.
POOLED_ERROR = 1.8


@dataclass(frozen=True)
class Combined:
    """``student (N, K)`` the small models' calibrated opinion, ``probs (N, K)`` of the true label given all evidence,
    the final ``label (N,)``, its ``risk (N,)``, and what was measured."""

    student: FloatArray
    probs: FloatArray
    label: IntArray
    risk: FloatArray
    measured: dict[str, float]


@dataclass(frozen=True)
class Contradictions:
    """``together``: rows where E and G agree and T does not. ``teacher_wrong``: the estimated share of them in which
    T is wrong. ``student_right``: the estimated accuracy of E and G pooled, over all rows."""

    together: IntArray
    teacher_wrong: float
    student_right: float


def combine(first: FloatArray, second: FloatArray, given: IntArray, verified: IntArray) -> Combined:
    """Weigh all opinions.

    Args:
        first: ``(N, K)`` out-of-fold probabilities of the models on the encoder's features (E).
        second: ``(N, K)`` out-of-fold probabilities of the models on something else (G).
        given: ``(N,)`` the LLM's label or ``NO_LABEL``.
        verified: ``(N,)`` a person's label or ``NO_LABEL``; final where there is one.

    Returns:
        Probabilities, final labels, risks (0 where a person looked).
    """
    readable, checked = given != NO_LABEL, verified != NO_LABEL
    known = np.where(checked, verified, given)
    student = calibrate(pool([first, second]), known, known != NO_LABEL)
    found = count_contradictions(
        first.argmax(axis=1), second.argmax(axis=1), given, readable & ~checked, first.shape[1]
    )
    logits = sharpen(np.log(np.maximum(student, 1e-9)), found.student_right)
    rows = found.together
    odds = np.log(found.teacher_wrong / (1.0 - found.teacher_wrong))
    right = 1.0 / (1.0 + np.exp(np.array([DECISIVENESS, 1.0]) * odds))  # for the decision, for the risk
    decision, honest = (
        add_teacher(logits, given, teacher_weight(logits[rows], given[rows], float(share))) for share in right
    )
    label = np.where(checked, verified, decision.argmax(axis=1))
    risk = np.where(checked, 0.0, 1.0 - honest[np.arange(len(label)), label])
    measured = {"teacher_wrong_when_contradicted": found.teacher_wrong, "student_right": found.student_right}
    return Combined(student, honest, label, np.clip(risk, 0.0, 1.0), measured)


def count_contradictions(
    first: IntArray, second: IntArray, given: IntArray, rows: BoolArray, count: int
) -> Contradictions:
    """Estimate how often T is wrong where E (``first``) and G (``second``) contradict it together.

    With a = P(E = G != T) and q the mean of P(E = T != G) and P(G = T != E), and E and G wrong together as often as
    each alone (q), T's error rate is (a - q) / (1 - 4 q), and T is wrong in (1 - q / a) (1 - 3 q) / (1 - 4 q) of a.
    """
    together = np.flatnonzero(rows & (first == second) & (first != given))
    only_first = int((rows & (first != given) & (second == given)).sum())
    only_second = int((rows & (second != given) & (first == given)).sum())
    alone = (only_first + only_second) / 2
    q = alone / max(int(rows.sum()), 1)
    student_right = float(np.clip(1.0 - POOLED_ERROR * q, 1.0 / count + 0.05, 0.995))
    if len(together) == 0:
        return Contradictions(together, 0.02, student_right)
    correction = min((1 - 3 * q) / max(1 - 4 * q, 0.15), 2.5)
    estimate = (1 - alone / len(together)) * correction * len(together) / (len(together) + PRIOR_ROWS)
    return Contradictions(together, float(np.clip(estimate, 0.02, 0.98)), student_right)


def sharpen(logs: FloatArray, target: float) -> FloatArray:
    """Scale log-probabilities ``(N, K)`` so that the mean of the highest probability is ``target``."""

    def excess(log_scale: float) -> float:
        return float(np.exp(log_softmax(logs * np.exp(log_scale)).max(axis=1)).mean()) - target

    if excess(-3.0) >= 0.0:
        return log_softmax(logs * np.exp(-3.0))
    if excess(3.0) <= 0.0:
        return log_softmax(logs * np.exp(3.0))
    return log_softmax(logs * np.exp(brentq(excess, -3.0, 3.0)))


def teacher_weight(logits: FloatArray, given: IntArray, right: float) -> float:
    """What to add to the log-probability ``(R, K)`` of the given label so that its mean probability is ``right``."""
    if len(given) == 0:
        return MOST_WEIGHT

    def excess(weight: float) -> float:
        return float(add_teacher(logits, given, weight)[np.arange(len(given)), given].mean()) - right

    if excess(0.0) >= 0.0:
        return 0.0
    if excess(MOST_WEIGHT) <= 0.0:
        return MOST_WEIGHT
    return float(brentq(excess, 0.0, MOST_WEIGHT))


def add_teacher(logits: FloatArray, given: IntArray, weight: float) -> FloatArray:
    """Probabilities ``(N, K)`` after adding ``weight`` to the log-probability of each readable given label."""
    raised = logits.copy()
    readable = np.flatnonzero(given != NO_LABEL)
    raised[readable, given[readable]] += weight
    return np.asarray(np.exp(log_softmax(raised)))
