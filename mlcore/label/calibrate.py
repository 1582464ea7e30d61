"""Take a language model's bias towards some labels out of its answers.

A model prefers label names for reasons that have nothing to do with the row: how frequent the name is, which
demonstration came last. That preference is the same for all rows, so it can be measured on the batch itself.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import chi2

from mlcore.probabilities import cross_entropy, match_shares
from mlcore.records import FloatArray, IntArray
from mlcore.verdict.constants import UNSTATED_CONFIDENCE

LEAST_STATED = 0.01  # models state whole percents, and 0 and 100 are no probabilities
CERTAINTY = 0.99  # of the test that rules even classes out


def calibrate_batch(
    probs: FloatArray, *, strength: float = 1.0, target: FloatArray | None = None
) -> FloatArray:
    """Remove the class bias that the whole batch shares.

    One factor a class is found such that the classes' mean probabilities over the batch come out even, and every
    distribution is divided by it. This goes on from batch calibration (Zhou et al., "Batch Calibration", 2023), which
    divides by the batch mean once: after one division the means are not even yet, and measured accuracy is
    lower. Where classes are truly uneven, lower ``strength``.

    Args:
        probs: ``(N, K)``, the model's distributions.
        strength: 1 removes the whole bias, 0 none of it.
        target: ``(K,)``, the mean probabilities that the batch ought to have, where they are known not to be even.

    Returns:
        Calibrated distributions ``(N, K)``, float64; the argument is left as it is.
    """
    values = np.asarray(probs, dtype=np.float64)
    if len(values) == 0 or strength == 0:
        return values.copy()
    classes = values.shape[1]
    return match_shares(
        values, np.full(classes, 1 / classes) if target is None else target, strength=strength
    )


def spread_stated(stated: FloatArray, labels: IntArray, classes: int) -> FloatArray:
    """Distributions of labels whose model stated a confidence, so that their mean is what is assumed of such labels.

    Models state too much (most often 90 to 100 %), but less where they err: on GPT-4o's labels a stated confidence ranks the
    errors at AUC 0.71. So all log-odds are moved by one number, which keeps the order; rows that people checked scale the
    distributions further.

    Args:
        stated: ``(N,)``, 0 to 1.
        labels: ``(N,)``, the labels that they were stated of.
        classes: number of labels.

    Returns:
        ``(N, K)``; a label keeps the largest share, however little the model trusted it.
    """
    odds = logit(np.clip(stated, LEAST_STATED, 1.0 - LEAST_STATED))
    shift = brentq(lambda move: float(expit(odds + move).mean()) - UNSTATED_CONFIDENCE, -10.0, 10.0)
    share = np.maximum(expit(odds + shift), (1.0 + LEAST_STATED) / classes)
    probs = np.repeat(((1.0 - share) / (classes - 1))[:, None], classes, axis=1)
    probs[np.arange(len(labels)), labels] = share
    return np.asarray(probs)


def choose_strength(
    probs: FloatArray,
    checked: IntArray,
    labels: IntArray,
    weights: FloatArray,
    *,
    most: float = 1.0,
    target: FloatArray | None = None,
) -> float:
    """How much of the bias to remove, where rows drawn at random and checked by people show how the classes lie.

    Evening out the classes is wrong where they are not even. Only if the checked rows rule even classes out (a
    chi-square test at 1 in 100) is a lower strength looked for: the one whose distributions fit them best.

    Args:
        probs: ``(N, K)``, the model's distributions over the whole batch.
        checked: ``(M,)``, places of the checked rows in the batch.
        labels: ``(M,)``, their verified label indices.
        weights: ``(M,)``, how many rows each stands for.
        most: the strength that was asked for, never exceeded.
        target: as in :func:`calibrate_batch`.

    Returns:
        ``most``, or one of three quarters, half, a quarter and none of it.
    """
    classes = probs.shape[1]
    shares = np.bincount(labels, weights=weights, minlength=classes) / weights.sum()
    expected = np.full(classes, 1 / classes) if target is None else target
    rows = weights.sum() ** 2 / (weights**2).sum()  # as many equal rows as the weighted ones are worth
    distance = rows * float(((shares - expected) ** 2 / expected).sum())
    if distance < chi2.ppf(CERTAINTY, classes - 1):
        return most

    def loss(strength: float) -> float:
        calibrated = calibrate_batch(probs, strength=strength, target=target)[checked]
        return float(np.average(cross_entropy(calibrated, labels), weights=weights))

    return min((most * step for step in (1.0, 0.75, 0.5, 0.25, 0.0)), key=loss)
