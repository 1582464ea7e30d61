"""Which labels are clean: a mixture of two Gaussians on the losses, one per class.

Small-loss selection after Li et al., "DivideMix" (ICLR 2020) and FreeAL (EMNLP 2023), which fit one mixture to all
rows. Classes differ in difficulty, so that one mixture shifts the class balance of what it keeps; here every class
has its own, with ranks as the fallback where a class is small or its losses have one mode, and with a floor so that
no class vanishes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit
from scipy.stats import norm
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from mlcore.corpus import Mixture
from mlcore.messages import Message
from mlcore.records import BoolArray, FloatArray, IntArray

FEWEST_ROWS = 50  # of a class that gets a mixture of its own
LEAST_SEPARATION = 1.0  # distance of the means in pooled standard deviations
FALLBACK_KEEP = 0.7  # share of the rows with a probability over one half, where ranks are used
VARIANCE_FLOOR = 5e-4  # on losses scaled to 0..1, as FreeAL and DivideMix use
# Of EM. On 200 loss sets of trainings scikit-learn's own tolerance, 1e-3, stops well before the optimum.
MOST_ROUNDS, TOLERANCE = 500, 1e-5


@dataclass(frozen=True)
class CleanSplit:
    """``prob (N,)`` that a row's label is clean, ``clean (N,)`` the rows taken as labelled, and the mixtures behind."""

    prob: FloatArray
    clean: BoolArray
    mixtures: list[Mixture]


def fit_mixture(losses: FloatArray, *, label: int = -1) -> Mixture:
    """Fit two Gaussians to losses by expectation maximisation.

    Args:
        losses: ``(N,)``, finite, at least one row.
        label: the class that the rows belong to, kept in the result.

    Returns:
        The mixture, low-loss component first, in the unit of ``losses``.
    """
    low, scale = float(losses.min()), float(np.ptp(losses))
    if scale <= 1e-12:
        return Mixture(label, len(losses), (1.0, 0.0), (low, low), (0.0, 0.0), Message("equal_losses"))
    model = GaussianMixture(
        2,
        reg_covar=VARIANCE_FLOOR,
        means_init=[[0.0], [1.0]],
        max_iter=MOST_ROUNDS,
        tol=TOLERANCE,
        random_state=0,
    )
    with threadpool_limits(1):
        # Sorted, so that the order of the rows decides nothing.
        model.fit((np.sort(losses)[:, None] - low) / scale)
    order = np.argsort(model.means_.ravel())
    weights = model.weights_[order].tolist()
    means = (model.means_.ravel()[order] * scale + low).tolist()
    deviations = (np.sqrt(model.covariances_.ravel()[order]) * scale).tolist()
    return Mixture(label, len(losses), tuple(weights), tuple(means), tuple(deviations))


def clean_probability(losses: FloatArray, mixture: Mixture) -> FloatArray:
    """The probability ``(N,)`` that each loss belongs to the low component; never rises with the loss.

    With unequal variances Bayes' rule makes the very lowest losses look noisy again, or the very highest clean: below
    the low mean the probability is level, above it it only falls.
    """
    if mixture.fallback:
        return _rank_probability(losses)
    low, high = (
        np.log(weight) + norm.logpdf(losses, mean, deviation)
        for weight, mean, deviation in zip(mixture.weights, mixture.means, mixture.deviations, strict=True)
    )
    prob = expit(low - high)
    lowest = losses <= mixture.means[0]
    if lowest.any():
        prob[lowest] = prob[lowest].max()
    ascending = np.argsort(losses, kind="stable")
    prob[ascending] = np.minimum.accumulate(prob[ascending])
    return np.asarray(prob)


def _rank_probability(losses: FloatArray) -> FloatArray:
    """Linear in the rank: half at the share that is kept by default."""
    _, group, counts = np.unique(losses, return_inverse=True, return_counts=True)
    below = np.cumsum(counts) - counts
    middle = (below + (counts - 1) / 2)[group] / max(len(losses) - 1, 1)
    lower = 1.0 - 0.5 * middle / FALLBACK_KEEP
    upper = 0.5 * (1.0 - middle) / (1.0 - FALLBACK_KEEP)
    return np.asarray(np.where(middle <= FALLBACK_KEEP, lower, upper))


def split_clean(
    losses: FloatArray,
    labels: IntArray,
    count: int,
    *,
    threshold: float = 0.5,
    floor: float = 0.3,
    per_class: bool = True,
) -> CleanSplit:
    """Part clean rows from noisy ones by their losses.

    Args:
        losses: ``(N,)``, finite.
        labels: ``(N,)``, the labels that the losses belong to, all in ``0..count-1``.
        count: number of labels, K.
        threshold: a row is clean when its probability is above it.
        floor: least share of its rows that a class keeps.
        per_class: one mixture per class; False is the paper's single mixture without floor.

    Returns:
        Probabilities, the clean rows, and the fitted mixtures (one, or one per class that occurs).
    """
    if not per_class:
        mixture = _with_fallback(fit_mixture(losses), fewest=2)
        prob = clean_probability(losses, mixture)
        return CleanSplit(prob, prob > threshold, [mixture])
    prob = np.zeros(len(losses))
    clean = np.zeros(len(losses), dtype=bool)
    mixtures = []
    for label in range(count):
        rows = np.flatnonzero(labels == label)
        if len(rows) == 0:
            continue
        mixture = _class_mixture(losses[rows], label)
        prob[rows] = clean_probability(losses[rows], mixture)
        kept = prob[rows] > threshold
        fewest = int(np.ceil(floor * len(rows)))
        if kept.sum() < fewest:
            kept = kept | (losses[rows] <= np.sort(losses[rows])[fewest - 1])
        clean[rows] = kept
        mixtures.append(mixture)
    return CleanSplit(prob, clean, mixtures)


def _class_mixture(losses: FloatArray, label: int) -> Mixture:
    """The mixture of one class; none is fitted to a class that is too small for it, which would take most of the time of a
    training with 77 labels."""
    rows = len(losses)
    if rows >= FEWEST_ROWS:
        return _with_fallback(fit_mixture(losses, label=label), fewest=FEWEST_ROWS)
    mean, deviation = float(losses.mean()), float(losses.std())
    reason = Message("few_losses", {"rows": rows, "least": FEWEST_ROWS})
    return Mixture(label, rows, (1.0, 0.0), (mean, mean), (deviation, deviation), reason)


def _with_fallback(mixture: Mixture, *, fewest: int) -> Mixture:
    if mixture.fallback:
        return mixture
    if mixture.rows < fewest:
        return replace(mixture, fallback=Message("few_losses", {"rows": mixture.rows, "least": fewest}))
    spread = float(np.sqrt(np.dot(mixture.weights, np.square(mixture.deviations))))
    if mixture.means[1] - mixture.means[0] < LEAST_SEPARATION * spread:
        return replace(mixture, fallback=Message("one_mode"))
    return mixture


def suspicion_rank(clean_prob: FloatArray, losses: FloatArray) -> IntArray:
    """Rank ``(N,)`` of the rows, 1 for the lowest clean probability; ties by higher loss, then by row."""
    order = np.lexsort((np.arange(len(losses)), -np.nan_to_num(losses, nan=np.inf), clean_prob))
    rank = np.empty(len(losses), dtype=np.int64)
    rank[order] = np.arange(1, len(losses) + 1)
    return rank
