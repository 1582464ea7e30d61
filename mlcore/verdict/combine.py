"""The label model: one label and one risk for every row, from the LLM's vote and two small models' opinions.

The pooled opinion of the small models and the LLM's log-vote are added, the latter with one weight for all rows. It is
chosen so that, over the rows where both small models contradict the LLM, the LLM is right as often as estimated
(``contradictions.py``). From the first checked rows on, a model over all views is fitted to those instead (``fusion.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, log_softmax, logit, logsumexp, softmax

from mlcore.corpus import NoisyLabels
from mlcore.probabilities import calibrate, log_probs, match_shares, pool
from mlcore.records import NO_LABEL, BoolArray, FloatArray, IntArray, class_shares
from mlcore.verdict import constants
from mlcore.verdict.contradictions import Contradictions, count_contradictions, stated_error
from mlcore.verdict.fusion import Fusion, answer_weights, fit_fusion
from mlcore.verdict.residual import fit_residual


@dataclass(frozen=True)
class Verdict:
    """What the label model says of every row.

    ``slm_probs (N, K)``: the small models' pooled and calibrated opinion. ``label (N,)``: the final label, a person's
    where there is one; ``risk (N,)``: the probability that it is wrong, 0 for a person's. ``machine_label``,
    ``machine_risk (N,)``: the same as if no person had decided. ``doubt (N,)``: log-odds of the machine's label being
    wrong by the weights of the decision. ``llm_weight``: of the LLM's log-vote in it, where the small models' is 1.
    ``views (N, V, K)`` float16: the small models' opinions apart, for deciding anew when people have answered.
    ``right (N, K)``: each label's probability of being the true one, as the risk has it.
    """

    slm_probs: FloatArray
    label: IntArray
    risk: FloatArray
    machine_label: IntArray
    machine_risk: FloatArray
    doubt: FloatArray
    contradictions: Contradictions
    llm_weight: float
    views: FloatArray
    right: FloatArray

    def risk_of(self, label: IntArray) -> FloatArray:
        """The probability ``(N,)`` that other labels are wrong, as if no person had decided; 1 without a label."""
        risk = np.clip(1.0 - self.right[np.arange(len(label)), label], 0.0, 1.0)
        return np.where(label == NO_LABEL, 1.0, risk)

    def evidence(self, noisy: NoisyLabels) -> dict[str, float]:
        """What was estimated, under the names by which finished rounds are stored."""
        return {
            "teacher_wrong_when_contradicted": self.contradictions.llm_wrong,
            "contradicted_share": len(self.contradictions.together) / len(self.label),
            "student_right": self.contradictions.slm_right,
            "teacher_weight": self.llm_weight,
            "checked_rows": float(noisy.looked_at.sum()),
            "risk_known": float(is_risk_known(noisy)),
            "error_low": self.error_if_shared(constants.LEAST_SHARED_ERROR, noisy),
            "error_high": self.error_if_shared(constants.MOST_SHARED_ERROR, noisy),
        }

    def error_if_shared(self, shared: float, noisy: NoisyLabels) -> float:
        """The mean risk of rows that nobody decided, were ``shared`` of the labels wrong on which all opinions agree.

        Once enough rows are checked, it is the mean risk itself.
        """
        undecided = noisy.verified == NO_LABEL
        if not undecided.any():
            return 0.0
        risk = float(self.machine_risk[undecided].mean())
        if is_risk_known(noisy):
            return risk
        return 1.0 - (1.0 - risk) * (1.0 - shared) / (1.0 - constants.SHARED_ERROR)


def combine(
    encoder: FloatArray,
    other: FloatArray,
    noisy: NoisyLabels,
    *,
    contradictions: Contradictions | None = None,
    counted: BoolArray | None = None,
    shares: FloatArray | None = None,
    more: Sequence[FloatArray] = (),
    features: FloatArray | None = None,
) -> Verdict:
    """Weigh the LLM's vote against the small models' opinions.

    Args:
        encoder: ``(N, K)`` out-of-fold probabilities of the models on the encoder's features.
        other: ``(N, K)`` out-of-fold probabilities of the models on other features.
        noisy: the LLM's labels, with distributions where it gave them, and people's labels, which are final.
        contradictions: of an earlier verdict; needed where the models were fitted to one, since they no longer tell.
        counted: ``(N,)``, the rows whose contradictions are counted; None for all.
        shares: ``(K,)``, class shares that the small models' opinion is brought to.
        more: further views ``(N, K)``, out of fold, which count once rows were checked.
        features: ``(N, D)``, from which checked rows teach what the views don't hold, see ``residual.py``.
    """
    readable = noisy.given != NO_LABEL
    slm_probs = calibrate(pool([encoder, other]), noisy.known)
    if shares is not None:
        slm_probs = match_shares(slm_probs, shares)
    sharpness = constants.SHARPNESS if contradictions is None else constants.REFITTED_SHARPNESS
    if contradictions is None:
        rows = readable & ~noisy.looked_at & (True if counted is None else counted)
        contradictions = estimate_contradictions(encoder, other, noisy, rows)
    opinion = sharpen(log_probs(slm_probs), contradictions.slm_right)
    decision, honest, weight = weigh(opinion, noisy, contradictions, sharpness)
    shared_error = np.where(readable | (not is_sample(noisy)), constants.SHARED_ERROR, 0.0)
    if has_enough_checked(noisy):
        fusion = fuse([encoder, other, *more], noisy)
        decision = honest = fusion.logs if features is None else learn_residual(fusion.logs, features, noisy)
        shared_error, weight = np.zeros(len(readable)), fusion.llm_weight
        together = contradictions.together
        if len(together):
            kept = np.exp(honest[together, noisy.given[together]]).mean()
            contradictions = replace(contradictions, llm_wrong=float(1 - kept), least_wrong=float(1 - kept))
    if not readable.all():
        prior = class_shares(noisy.known[noisy.known != NO_LABEL], noisy.count)
        decision[~readable] = honest[~readable] = log_probs(shift_prior(encoder[~readable], prior))
    machine_label, right = decision.argmax(axis=1), (1.0 - shared_error)[:, None] * np.exp(honest)
    machine_risk = np.clip(1.0 - right[np.arange(len(machine_label)), machine_label], 0.0, 1.0)
    checked = noisy.verified != NO_LABEL
    return Verdict(
        slm_probs=slm_probs,
        label=np.where(checked, noisy.verified, machine_label),
        risk=np.where(checked, 0.0, machine_risk),
        machine_label=machine_label,
        machine_risk=machine_risk,
        doubt=log_odds_wrong(decision, machine_label),
        contradictions=contradictions,
        llm_weight=weight,
        views=np.stack([encoder, other, *more], axis=1).astype(np.float16),
        right=right,
    )


def learn_residual(logs: FloatArray, features: FloatArray, noisy: NoisyLabels) -> FloatArray:
    """The log-probabilities ``(N, K)`` with what checked rows teach of the features."""
    rows = np.flatnonzero(noisy.looked_at)
    return fit_residual(logs, features, rows, noisy.verified[rows])


def fuse(views: Sequence[FloatArray], noisy: NoisyLabels) -> Fusion:
    """The model over the LLM's vote and these views ``(N, K)``, fitted to the rows at which people looked."""
    logs = [log_probs(calibrate(view, noisy.known)) for view in views]
    rows = np.flatnonzero(noisy.looked_at)
    return fit_fusion(
        np.stack([llm_log_vote(noisy), *logs]), rows, noisy.verified[rows], answer_weights(noisy)
    )


def estimate_contradictions(
    encoder: FloatArray, other: FloatArray, noisy: NoisyLabels, rows: BoolArray
) -> Contradictions:
    """How often the LLM is wrong where both small models contradict it, by the more cautious of two counts.

    Views that drift to the frequent classes contradict rarer labels whoever is right. So contradictions are counted a second
    time with each class's share divided out; that estimate holds where it is lower by more than chance, unless the first
    one is beyond doubt.
    """
    shares = class_shares(noisy.known[noisy.known != NO_LABEL], noisy.count)
    prior = np.maximum(shares, 1.0 / max(len(rows), 1))
    found, balanced = (
        count_contradictions(
            (encoder / by).argmax(axis=1), (other / by).argmax(axis=1), noisy.given, rows, noisy.count
        )
        for by in (np.ones(noisy.count), prior)
    )
    if found.llm_wrong < constants.BEYOND_DOUBT and balanced.llm_wrong < found.least_wrong:
        found = replace(found, llm_wrong=balanced.llm_wrong, least_wrong=balanced.least_wrong)
    return found.with_stated(stated_error(noisy))


def is_sample(noisy: NoisyLabels) -> bool:
    """Whether the LLM was asked about a part of the rows only.

    The risk of the others is the small model's, which is calibrated on labels of which some are wrong and so rather too high;
    errors that it shares with the LLM are no reason to raise it further.
    """
    return bool(np.mean(noisy.given != NO_LABEL) < constants.LEAST_ASKED)


def has_enough_checked(noisy: NoisyLabels) -> bool:
    """Whether people looked at enough rows for a model to be fitted to them.

    Labels accepted in bulk don't count: they repeat what the models said, and weights fitted to them grow without bound.
    """
    return int(noisy.looked_at.sum()) >= constants.FEWEST_CHECKED


def is_risk_known(noisy: NoisyLabels) -> bool:
    """Whether enough rows were checked for the risk to be more than a guess."""
    return int(noisy.looked_at.sum()) >= constants.FEWEST_KNOWN


def weigh(
    opinion: FloatArray, noisy: NoisyLabels, contradictions: Contradictions, sharpness: float
) -> tuple[FloatArray, FloatArray, float]:
    """Log-probabilities ``(N, K)`` of the true label for the decision and for the risk, and the LLM's weight in the decision.

    For the risk the LLM keeps more weight: that is honest on average, but blurs the order of the rows.
    """
    vote, rows = llm_log_vote(noisy), contradictions.together
    log_odds = -float(logit(contradictions.llm_wrong))
    decisive, plain = (
        llm_weight(opinion[rows], vote[rows], noisy.given[rows], float(expit(power * log_odds)))
        for power in (sharpness, 1.0)
    )
    decision, honest = (log_softmax(opinion + weight * vote, axis=1) for weight in (decisive, plain))
    return decision, honest, decisive


def llm_weight(opinion: FloatArray, vote: FloatArray, given: IntArray, right: float) -> float:
    """The weight of the LLM's log-vote ``(R, K)`` at which its labels have the mean probability ``right`` on these rows."""
    if len(given) == 0:
        return constants.MOST_WEIGHT
    rows = np.arange(len(given))

    def excess(weight: float) -> float:
        return float(softmax(opinion + weight * vote, axis=1)[rows, given].mean()) - right

    return rising_root(excess, 0.0, constants.MOST_WEIGHT)


def sharpen(logs: FloatArray, target: float) -> FloatArray:
    """Scale log-probabilities ``(N, K)`` so that the mean of the highest probability is ``target``."""

    def excess(log_scale: float) -> float:
        return float(softmax(logs * np.exp(log_scale), axis=1).max(axis=1).mean()) - target

    return np.asarray(log_softmax(logs * np.exp(rising_root(excess, -3.0, 3.0)), axis=1))


def rising_root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function is 0 between two bounds; the nearer bound where it is not 0 between them."""
    if function(low) >= 0.0:
        return low
    return high if function(high) <= 0.0 else float(brentq(function, low, high))


def log_odds_wrong(logs: FloatArray, label: IntArray) -> FloatArray:
    """Log-odds ``(N,)`` that the label is not the true one, from log-probabilities ``(N, K)``; exact near certainty."""
    rows = np.arange(len(label))
    others = logs.copy()
    others[rows, label] = -np.inf
    return np.asarray(logsumexp(others, axis=1) - logs[rows, label])


def llm_log_vote(noisy: NoisyLabels) -> FloatArray:
    """The LLM's log-probabilities ``(N, K)`` less their maximum; all 0 where its answer could not be read.

    A label without a distribution has the mean confidence of those with one, the rest spread evenly.
    """
    readable = np.flatnonzero(noisy.given != NO_LABEL)
    probs = np.full((len(noisy.given), noisy.count), np.nan) if noisy.probs is None else noisy.probs
    stated = np.isfinite(probs).all(axis=1)
    confidence = probs[stated].max(axis=1).mean() if stated.any() else constants.UNSTATED_CONFIDENCE
    votes = np.full(probs.shape, (1.0 - confidence) / (noisy.count - 1))
    votes[readable, noisy.given[readable]] = confidence
    votes[stated] = probs[stated]
    logs = np.log(np.clip(votes, constants.LEAST_PROBABILITY, 1.0))
    logs[noisy.given == NO_LABEL] = 0.0
    return np.asarray(logs - logs.max(axis=1, keepdims=True))


def shift_prior(probs: FloatArray, prior: FloatArray, *, rounds: int = 100) -> FloatArray:
    """Adapt probabilities ``(R, K)`` to the class shares of these very rows, by EM (Saerens et al. 2002).

    ``PRIOR_UNREADABLE`` imagined rows of the old shares ``prior (K,)`` keep small sets steady.
    """
    shares = prior.copy()
    shifted = probs
    for _ in range(rounds):
        shifted = probs * (shares / np.maximum(prior, 1e-9))
        shifted = shifted / np.maximum(shifted.sum(axis=1, keepdims=True), 1e-12)
        shares = (shifted.sum(axis=0) + constants.PRIOR_UNREADABLE * prior) / (
            len(probs) + constants.PRIOR_UNREADABLE
        )
    return np.asarray(shifted)
