"""Which labels are clean: a mixture of two Gaussians on the losses, one per class.

Small-loss selection after Li et al., "DivideMix" (ICLR 2020) and FreeAL (EMNLP 2023), which fit one mixture to all
rows. Classes differ in difficulty, so that one mixture shifts the class balance of what it keeps; here every class
has its own, with ranks as the fallback where a class is small or its losses have one mode, and with a floor so that
no class vanishes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mlcore.corpus import Mixture
from mlcore.messages import Message
from mlcore.records import BoolArray, FloatArray, IntArray

FEWEST_ROWS = 50
LEAST_SEPARATION = 1.0  # distance of the means in pooled standard deviations
FALLBACK_KEEP = 0.7
VARIANCE_FLOOR = 5e-4  # on losses scaled to 0..1, as FreeAL and DivideMix use


@dataclass(frozen=True)
class CleanSplit:
    """``prob (N,)`` that a row's label is clean, ``clean (N,)`` the rows taken as labelled, and the mixtures behind."""

    prob: FloatArray
    clean: BoolArray
    mixtures: list[Mixture]


def fit_mixture(losses: FloatArray, *, label: int = -1, max_iter: int = 100, tol: float = 1e-6) -> Mixture:
    """Fit two Gaussians to losses by expectation maximisation.

    Args:
        losses: ``(N,)``, finite, at least two rows.
        label: the class that the rows belong to, kept in the result.
        max_iter: most rounds of EM.
        tol: stops when the mean log-likelihood rises by less.

    Returns:
        The mixture, low-loss component first, in the unit of ``losses``.
    """
    low, high = float(losses.min()), float(losses.max())
    scale = high - low
    if scale <= 1e-12:
        return Mixture(label, len(losses), (1.0, 0.0), (low, low), (0.0, 0.0), Message("equal_losses"))
    scaled = (losses.astype(np.float64) - low) / scale
    weights, means, variances = _m_step(scaled, _two_means(scaled))
    before = -np.inf
    for _ in range(max_iter):
        log_joint = _log_joint(scaled, weights, means, variances)  # (N, 2)
        log_total = np.logaddexp(log_joint[:, 0], log_joint[:, 1])
        weights, means, variances = _m_step(scaled, np.exp(log_joint - log_total[:, None]))
        now = float(log_total.mean())
        if now - before < tol:
            break
        before = now
    first, second = (0, 1) if means[0] <= means[1] else (1, 0)
    deviations = np.sqrt(variances) * scale
    centres = means * scale + low
    return Mixture(
        label,
        len(losses),
        (float(weights[first]), float(weights[second])),
        (float(centres[first]), float(centres[second])),
        (float(deviations[first]), float(deviations[second])),
    )


def _two_means(scaled: FloatArray) -> FloatArray:
    """Hard responsibilities ``(N, 2)`` of Lloyd's algorithm from the two extremes, where EM starts."""
    centres = np.array([0.0, 1.0])
    for _ in range(20):
        upper = scaled > centres.mean()
        moved = np.array([scaled[~upper].mean(), scaled[upper].mean()])
        if np.allclose(moved, centres):
            break
        centres = moved
    return np.stack([~upper, upper], axis=1).astype(np.float64)


def _m_step(scaled: FloatArray, resp: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    mass = resp.sum(axis=0) + 1e-12
    means = (resp * scaled[:, None]).sum(axis=0) / mass
    variances = (resp * (scaled[:, None] - means) ** 2).sum(axis=0) / mass + VARIANCE_FLOOR
    return mass / mass.sum(), means, variances


def _log_joint(
    values: FloatArray, weights: FloatArray, means: FloatArray, variances: FloatArray
) -> FloatArray:
    logs = -0.5 * (np.log(2 * np.pi * variances) + (values[:, None] - means) ** 2 / variances)
    return np.asarray(logs + np.log(weights + 1e-300))


def clean_probability(losses: FloatArray, mixture: Mixture) -> FloatArray:
    """The probability ``(N,)`` that each loss belongs to the low component; never rises with the loss.

    With unequal variances Bayes' rule makes the very lowest losses look noisy again, or the very highest clean: below
    the low mean the probability is level, above it it only falls.
    """
    if mixture.fallback:
        return _rank_probability(losses)
    log_joint = _log_joint(
        losses, np.array(mixture.weights), np.array(mixture.means), np.array(mixture.deviations) ** 2
    )
    prob = np.exp(log_joint[:, 0] - np.logaddexp(log_joint[:, 0], log_joint[:, 1]))
    low = losses <= mixture.means[0]
    if low.any():
        prob[low] = prob[low].max()
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
        mixture = _with_fallback(fit_mixture(losses[rows], label=label), fewest=FEWEST_ROWS)
        prob[rows] = clean_probability(losses[rows], mixture)
        kept = prob[rows] > threshold
        fewest = int(np.ceil(floor * len(rows)))
        if kept.sum() < fewest:
            kept = kept | (losses[rows] <= np.sort(losses[rows])[fewest - 1])
        clean[rows] = kept
        mixtures.append(mixture)
    return CleanSplit(prob, clean, mixtures)


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


def cross_entropy(probs: FloatArray, labels: IntArray) -> FloatArray:
    """Cross-entropy ``(N,)`` in nats of labels ``(N,)`` under probabilities ``(N, K)``."""
    return np.asarray(-np.log(np.maximum(probs[np.arange(len(labels)), labels], 1e-9)))
