"""The verdict on every row: for texts and for tables.

Where the LLM turns out to be the weaker one, its labels are replaced by the verdict and the small models are fitted again,
a few times (after the rounds of relabelling in DivideMix and CanDist). Where it is the stronger one,
this would only take true labels from the small models (MR: 95.2 instead of 95.5 % after a tenth is reviewed).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mlcore.corpus import NoisyLabels
from mlcore.probabilities import calibrate, cross_entropy, match_shares
from mlcore.records import NO_LABEL, FloatArray, IntArray
from mlcore.slm.cross_fit import weigh_by_clean_prob
from mlcore.slm.noise import split_clean
from mlcore.verdict import constants
from mlcore.verdict.combine import Verdict, combine
from mlcore.verdict.opinions import CrossFitter

Opinions = tuple[FloatArray, FloatArray]


def decide_texts(
    fitter: CrossFitter, network: FloatArray, noisy: NoisyLabels, weights: FloatArray
) -> Verdict:
    """The verdict on texts.

    Args:
        fitter: fits small models to labels.
        network: ``(N, K)``, the trained network's probabilities, out of fold.
        noisy: the LLM's and people's labels.
        weights: ``(N,)``, how much each row counts in training.
    """
    verdict = first_verdict(fitter.text_opinions(network, noisy.known, weights), noisy)
    # By the lower end of the estimate: on a few hundred rows, refits would learn the small models' own mistakes.
    if verdict.contradictions.least_wrong <= 0.5:
        return verdict
    clean_weights = weigh_rows(verdict.slm_probs, noisy, weights)
    opinions = fitter.text_opinions(network, noisy.known, clean_weights)
    return refit_to_verdict(
        first_verdict(opinions, noisy), noisy, lambda labels: fitter.refit_texts(labels, weights)
    )


def decide_table(
    fitter: CrossFitter, network: FloatArray, noisy: NoisyLabels, weights: FloatArray
) -> Verdict:
    """The verdict on table rows; arguments as for texts.

    The models fitted to a verdict are trees. The network takes part at the end, unless it lost a class: were the trees
    fitted to its labels too, a class would fade away (Adult, docs/decisions/0005).
    """
    first = combine(*fitter.tree_opinions(noisy.known, weights), noisy, more=[network])
    # Trees on few rows err by chance more than alike, and gain from refits at any estimate.
    if first.contradictions.llm_wrong <= 0.5:
        return first
    verdict = refit_to_verdict(first, noisy, lambda labels: fitter.refit_trees(labels, weights), [network])
    if loses_class(network.argmax(axis=1), noisy):
        return verdict
    calibrated = calibrate(network, verdict.slm_probs.argmax(axis=1))
    return combine(
        verdict.slm_probs,
        calibrated,
        noisy,
        contradictions=first.contradictions,
        shares=known_shares(noisy),
    )


def first_verdict(opinions: Opinions, noisy: NoisyLabels) -> Verdict:
    """The verdict on texts before any refit, without counting classes that the small models all but give up.

    On few rows, or in a language that the encoder does not know, they contradict the LLM in such a class whoever is right.
    """
    verdict = combine(*opinions, noisy)
    given_up = class_counts(verdict) < constants.LEAST_GIVEN * given_counts(noisy)
    if not given_up.any():
        return verdict
    return combine(*opinions, noisy, counted=~given_up[noisy.given])


def refit_to_verdict(
    verdict: Verdict,
    noisy: NoisyLabels,
    refit: Callable[[IntArray], Opinions],
    more: Sequence[FloatArray] = (),
) -> Verdict:
    """Fit the small models to the verdict and decide anew, ``REFITS`` times or until a class fades.

    A refit after which a class has too few of the rows that it was given is undone: the verdict before it is returned.
    """
    first, shares = verdict, known_shares(noisy)
    for _ in range(constants.REFITS):
        probs = verdict.slm_probs if shares is None else match_shares(verdict.slm_probs, shares)
        labels = np.where(noisy.verified != NO_LABEL, noisy.verified, probs.argmax(axis=1))
        if loses_class(labels, noisy):
            break
        refitted = combine(
            *refit(labels), noisy, contradictions=first.contradictions, shares=shares, more=more
        )
        if loses_class(refitted.label, noisy):
            break
        verdict = refitted
    return verdict


def class_counts(verdict: Verdict) -> IntArray:
    """How many rows ``(K,)`` the small models give each label."""
    return np.bincount(verdict.slm_probs.argmax(axis=1), minlength=verdict.slm_probs.shape[1])


def given_counts(noisy: NoisyLabels) -> IntArray:
    """How many rows ``(K,)`` have each label, a person's or the LLM's."""
    return np.bincount(noisy.known[noisy.known != NO_LABEL], minlength=noisy.count)


def loses_class(labels: IntArray, noisy: NoisyLabels) -> bool:
    """Whether some class has far fewer of the labels ``(N,)`` than it was given."""
    counts = np.bincount(labels, minlength=noisy.count)
    return bool((counts < constants.LEAST_KEPT * given_counts(noisy)).any())


def known_shares(noisy: NoisyLabels) -> FloatArray | None:
    """The classes' shares ``(K,)`` by the LLM's calibrated distributions; None where it gave half of the rows none."""
    if noisy.probs is None:
        return None
    stated = np.isfinite(noisy.probs).all(axis=1)
    return np.asarray(noisy.probs[stated].mean(axis=0)) if stated.mean() > 0.5 else None


def weigh_rows(probs: FloatArray, noisy: NoisyLabels, weights: FloatArray) -> FloatArray:
    """The weights ``(N,)`` scaled by each label's clean probability under ``probs (N, K)``."""
    labelled = np.flatnonzero(noisy.known != NO_LABEL)
    labels = noisy.known[labelled]
    split = split_clean(cross_entropy(probs[labelled], labels), labels, noisy.count)
    return weigh_by_clean_prob(weights, labelled, split.prob)
