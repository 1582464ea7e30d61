"""One label and one risk for every row, from all the evidence.

Who is right where the LLM and the small models differ? Without checked rows this is read from how often three opinions
contradict each other: the LLM (T), a model on the encoder's features (E) and a model on something else (G: n-grams, or
trees on a table). Rows that are hard for the small models make E and G err alone about as often as together. So if E
and G contradict T together no more often than each does alone, T is the better one (a weak student must not overrule a
strong teacher); what they contradict together beyond that are T's errors. The weight of T's word is then chosen so that
the mean probability of T being right, over the rows where both contradict it, is the estimated one. T's own doubt in
these rows, where it states a distribution, is the least that is taken for its error there. With enough checked
rows the weights are fitted to those instead, starting from these.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq, minimize

from mlcore.corpus import NoisyLabels
from mlcore.records import NO_LABEL, BoolArray, FloatArray, IntArray, class_shares
from mlcore.verdict.bounds import LEAST_WRONG, MOST_RIGHT, MOST_WEIGHT, MOST_WRONG, least_right
from mlcore.verdict.pooling import calibrate, log_softmax, match_shares, pool

PRIOR_ROWS = 3.0  # imagined rows on which T is right, against chance in small corpora
# Measured on 33 combinations of corpus and noise: with the plain estimate, mistakes that depend on the row (as a
# language model's do) keep too much of T's word; tripling its log-odds mends that and leaves strong teachers alone.
DECISIVENESS = 3.0
# The models that are fitted to a verdict repeat fewer of the LLM's mistakes than those that contradicted it, so they may
# overrule it where it is in doubt (AG News, labels of the embedded LLM: 81.9 with 3, 83.8 with 6, three seeds; hard
# labels: hardly a difference).
REFITTED_DECISIVENESS = 6.0
# Share of the rows on which the small models' pooled opinion is wrong, per unit of q; both-wrong and half of the rest.
POOLED_ERROR = 1.8
FEWEST_CHECKED = 40  # checked rows from which on the weights are fitted
SCALE_RIDGE = np.array([4.0, 0.5])
LEAST_PROBABILITY = 1e-3
TINY = 1e-300
PRIOR_HOLES = 40.0
# Mistakes that the LLM makes and the small models learn from it show in no contradiction. Between 1 and 25 % of the rows
# on which all agree were wrong on the corpora measured, 4 % with ChatGPT's labels; this is assumed until people checked.
SHARED_ERROR = 0.08


@dataclass(frozen=True)
class Combined:
    """``student (N, K)`` the small models' calibrated opinion, ``probs (N, K)`` of the true label given all evidence,
    the final ``label (N,)``, its ``risk (N,)``, both as they would be had nobody looked (``machine_label (N,)``,
    ``machine_risk (N,)``), ``doubt (N,)``, the log-odds of the machine's label being wrong as it was decided, and what was
    measured. The risk keeps more of the LLM's word than the decision does, which is honest on average and blurs the order."""

    student: FloatArray
    probs: FloatArray
    label: IntArray
    risk: FloatArray
    machine_label: IntArray
    machine_risk: FloatArray
    doubt: FloatArray
    measured: dict[str, float]
    found: Contradictions


@dataclass(frozen=True)
class Contradictions:
    """``together``: rows where E and G agree and T does not. ``teacher_wrong``: the estimated share of them in which
    T is wrong, and ``least_wrong`` what it comes to one standard error lower: a few contradictions say little.
    ``student_right``: the estimated accuracy of E and G pooled, over all rows."""

    together: IntArray
    teacher_wrong: float
    least_wrong: float
    student_right: float

    def at_least(self, doubt: FloatArray) -> Contradictions:
        """The same, where T states of each row with which probability ``(N,)`` its own label is wrong: on average over the
        rows where both contradict it, T is wrong at least as often. NaN where it states nothing."""
        stated = doubt[self.together]
        stated = stated[np.isfinite(stated)]
        if 2 * len(stated) <= len(self.together):
            return self
        least = within_bounds(stated.mean())
        return replace(
            self,
            teacher_wrong=max(self.teacher_wrong, least),
            least_wrong=max(self.least_wrong, least),
        )


def combine(
    first: FloatArray,
    second: FloatArray,
    noisy: NoisyLabels,
    *,
    found: Contradictions | None = None,
    heard: BoolArray | None = None,
    shares: FloatArray | None = None,
) -> Combined:
    """Weigh all opinions.

    Args:
        first: ``(N, K)`` out-of-fold probabilities of the models on the encoder's features (E).
        second: ``(N, K)`` out-of-fold probabilities of the models on something else (G).
        noisy: what the LLM said, with its distribution where it gave one, and what people said, which is final.
        found: who contradicts whom, from an earlier look; opinions that were fitted to a verdict no longer say.
        heard: ``(N,)``, the rows whose contradictions are counted; None for all.
        shares: ``(K,)``, shares of the classes that the small models' opinion is brought to.

    Returns:
        Probabilities, final labels, risks (0 where a person decided).
    """
    given, verified = noisy.given, noisy.verified
    readable, checked, looked = given != NO_LABEL, verified != NO_LABEL, noisy.looked_at
    known = np.where(checked, verified, given)
    student = calibrate(pool([first, second]), known, known != NO_LABEL)
    if shares is not None:
        student = match_shares(student, shares)
    decisiveness = DECISIVENESS if found is None else REFITTED_DECISIVENESS
    if found is None:
        votes = first.argmax(axis=1), second.argmax(axis=1)
        counted = readable & ~looked if heard is None else readable & ~looked & heard
        found = count_contradictions(*votes, given, counted, noisy.count).at_least(own_doubt(noisy))
    opinion = sharpen(np.log(np.maximum(student, 1e-9)), found.student_right)  # (N, K) log-probabilities
    word = teacher_word(noisy)  # (N, K)
    rows = found.together
    odds = np.log(found.teacher_wrong / (1.0 - found.teacher_wrong))
    right = 1.0 / (1.0 + np.exp(np.array([decisiveness, 1.0]) * odds))  # for the decision, for the risk
    weights = [teacher_weight(opinion[rows], word[rows], given[rows], float(share)) for share in right]
    decision, honest = (np.exp(log_softmax(opinion + weight * word)) for weight in weights)
    unseen, weight = SHARED_ERROR, weights[0]
    # Labels that were accepted in bulk say what the models said, and that they are right is not known: fitted to them, the
    # weights grow without bound, and every other row would seem to be right for sure.
    if int(looked.sum()) >= FEWEST_CHECKED:
        unseen = 0.0
        scales = fit_scales(opinion[looked], word[looked], verified[looked], np.array([1.0, weights[0]]))
        decision = honest = np.exp(log_softmax(scales[0] * opinion + scales[1] * word))
        weight = float(scales[1] / scales[0])
    if (~readable).any():
        filled = shift_prior(first[~readable], class_shares(known[known != NO_LABEL], noisy.count))
        decision[~readable] = honest[~readable] = filled
    machine_label = decision.argmax(axis=1)
    sure = honest[np.arange(len(given)), machine_label]
    machine_risk = np.clip(1.0 - (1.0 - unseen) * sure, 0.0, 1.0)
    doubt = log_odds_wrong(np.log(np.maximum(decision, TINY)), machine_label)
    label = np.where(checked, verified, machine_label)
    risk = np.where(checked, 0.0, machine_risk)
    measured = {
        "teacher_wrong_when_contradicted": found.teacher_wrong,
        "contradicted_share": len(rows) / len(given),
        "student_right": found.student_right,
        "teacher_weight": weight,
        "checked_rows": float(looked.sum()),
    }
    return Combined(student, honest, label, risk, machine_label, machine_risk, doubt, measured, found)


def log_odds_wrong(logs: FloatArray, label: IntArray) -> FloatArray:
    """Log-odds ``(N,)`` that the label is not the true one, from log-probabilities ``(N, K)``; exact near certainty."""
    rows = np.arange(len(label))
    others = logs.copy()
    others[rows, label] = -np.inf
    return np.asarray(np.logaddexp.reduce(others, axis=1) - logs[rows, label])


def teacher_word(noisy: NoisyLabels) -> FloatArray:
    """What the LLM said, as log-probabilities ``(N, K)``; all 0 where it said nothing readable.

    Where it gave no distribution, its label has the mean probability of the labels with one (0.9 if there are none).
    """
    readable = np.flatnonzero(noisy.given != NO_LABEL)
    sure = np.full(len(noisy.given), 0.9)
    probs = np.full((len(noisy.given), noisy.count), np.nan) if noisy.probs is None else noisy.probs
    stated = np.isfinite(probs).all(axis=1)
    if stated.any():
        sure[:] = probs[stated].max(axis=1).mean()
    spoken = np.repeat(((1.0 - sure) / (noisy.count - 1))[:, None], noisy.count, axis=1)
    spoken[readable, noisy.given[readable]] = sure[readable]
    spoken[stated] = probs[stated]
    word = np.log(np.clip(spoken, LEAST_PROBABILITY, 1.0))
    word[noisy.given == NO_LABEL] = 0.0
    return np.asarray(word - word.max(axis=1, keepdims=True))


def own_doubt(noisy: NoisyLabels) -> FloatArray:
    """With which probability ``(N,)`` the LLM's label is wrong by its own distribution; NaN where it gave none.

    With few rows, or a second view that is much weaker than the first, contradictions alone tell nothing of the LLM, and the
    estimate falls to its least value. What the LLM says of its own doubt, after calibration on the corpus, then still does.
    """
    doubt = np.full(len(noisy.given), np.nan)
    if noisy.probs is not None:
        rows = np.flatnonzero(noisy.given != NO_LABEL)
        doubt[rows] = 1.0 - noisy.probs[rows, noisy.given[rows]]
    return doubt


def shift_prior(probs: FloatArray, prior: FloatArray, *, rounds: int = 100) -> FloatArray:
    """Adapt probabilities ``(R, K)`` to the class shares of these very rows, by EM (Saerens et al. 2002).

    Answers that can't be read are not spread evenly over the classes: on MR with ChatGPT, two thirds of them are positive
    while its labels are 54 % negative. ``PRIOR_HOLES`` imagined rows of the old shares keep small sets steady.
    """
    shares = prior.copy()
    shifted = probs
    for _ in range(rounds):
        shifted = probs * (shares / np.maximum(prior, 1e-9))
        shifted = shifted / np.maximum(shifted.sum(axis=1, keepdims=True), 1e-12)
        shares = (shifted.sum(axis=0) + PRIOR_HOLES * prior) / (len(probs) + PRIOR_HOLES)
    return np.asarray(shifted)


def fit_scales(opinion: FloatArray, word: FloatArray, verified: IntArray, prior: FloatArray) -> FloatArray:
    """How much the small models' opinion and the LLM's word count ``(2,)``, fitted to the checked rows.

    A conditional logit with a ridge towards ``prior``. That people look at the riskiest rows first does no harm, since
    how a row was chosen depends only on what the model is given.
    """
    rows = np.arange(len(verified))

    def cost(scales: FloatArray) -> float:
        logs = log_softmax(scales[0] * opinion + scales[1] * word)
        return float(-logs[rows, verified].sum() + (SCALE_RIDGE * np.square(scales - prior)).sum() / 2)

    best = minimize(cost, prior, method="L-BFGS-B", bounds=[(0.05, 5.0), (0.0, MOST_WEIGHT)])
    return np.asarray(best.x)


def count_contradictions(
    first: IntArray, second: IntArray, given: IntArray, rows: BoolArray, count: int
) -> Contradictions:
    """Estimate how often T is wrong where E (``first``) and G (``second``) contradict it together.

    With a = P(E = G != T) and q the mean of P(E = T != G) and P(G = T != E), and E and G wrong together as often as
    each alone (q), T's error rate is (a - q) / (1 - 4 q), and T is wrong in (1 - q / a) (1 - 3 q) / (1 - 4 q) of a. The
    standard error takes the counts as Poisson's: those of a and of the two that q is the mean of.
    """
    together = np.flatnonzero(rows & (first == second) & (first != given))
    only_first = int((rows & (first != given) & (second == given)).sum())
    only_second = int((rows & (second != given) & (first == given)).sum())
    alone = (only_first + only_second) / 2
    q = alone / max(int(rows.sum()), 1)
    student_right = float(np.clip(1.0 - POOLED_ERROR * q, least_right(count), MOST_RIGHT))
    both = len(together)
    if both == 0:
        return Contradictions(together, LEAST_WRONG, LEAST_WRONG, student_right)
    correction = min((1 - 3 * q) / max(1 - 4 * q, 0.15), 2.5)
    estimate = (1 - alone / both) * correction * both / (both + PRIOR_ROWS)
    error = correction * float(np.sqrt(alone / 2 + alone**2 / both)) / both
    return Contradictions(together, within_bounds(estimate), within_bounds(estimate - error), student_right)


def within_bounds(wrong: float) -> float:
    return float(np.clip(wrong, LEAST_WRONG, MOST_WRONG))


def sharpen(logs: FloatArray, target: float) -> FloatArray:
    """Scale log-probabilities ``(N, K)`` so that the mean of the highest probability is ``target``."""

    def excess(log_scale: float) -> float:
        return float(np.exp(log_softmax(logs * np.exp(log_scale)).max(axis=1)).mean()) - target

    if excess(-3.0) >= 0.0:
        return log_softmax(logs * np.exp(-3.0))
    if excess(3.0) <= 0.0:
        return log_softmax(logs * np.exp(3.0))
    return log_softmax(logs * np.exp(brentq(excess, -3.0, 3.0)))


def teacher_weight(opinion: FloatArray, word: FloatArray, given: IntArray, right: float) -> float:
    """How much the LLM's word ``(R, K)`` must count for its label to have the mean probability ``right`` on these rows."""
    if len(given) == 0:
        return MOST_WEIGHT
    rows = np.arange(len(given))

    def excess(weight: float) -> float:
        return float(np.exp(log_softmax(opinion + weight * word))[rows, given].mean()) - right

    if excess(0.0) >= 0.0:
        return 0.0
    if excess(MOST_WEIGHT) <= 0.0:
        return MOST_WEIGHT
    return float(brentq(excess, 0.0, MOST_WEIGHT))
