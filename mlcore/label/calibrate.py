"""Take a language model's bias towards some labels out of its answers.

A model prefers label names for reasons that have nothing to do with the row: how frequent the name is, which
demonstration came last. That preference is the same for all rows, so it can be measured on the batch itself.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import chi2

from mlcore.records import FloatArray, IntArray

_ROUNDS = 200
_TOLERANCE = 1e-6
_SMALLEST = 1e-12
_SURE = 0.99


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
    logits = np.log(np.maximum(values, _SMALLEST))
    classes = logits.shape[1]
    return _softmax(
        logits - strength * _class_bias(logits, np.full(classes, 1 / classes) if target is None else target)
    )


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
    if distance < chi2.ppf(_SURE, classes - 1):
        return most
    fits = {
        strength: _loss(calibrate_batch(probs, strength=strength, target=target)[checked], labels, weights)
        for strength in (most * step for step in (1.0, 0.75, 0.5, 0.25, 0.0))
    }
    return min(fits, key=lambda strength: fits[strength])


def fit_temperature(probs: FloatArray, labels: IntArray, weights: FloatArray | None = None) -> float:
    """The temperature that makes confidences fit verified labels best (Guo et al., 2017).

    Args:
        probs: ``(N, K)``.
        labels: ``(N,)``, verified label indices.
        weights: ``(N,)``, how many rows each stands for; None for one each.

    Returns:
        A temperature between 0.05 and 20; over 1 softens the distributions.
    """
    logits = np.log(np.maximum(np.asarray(probs, dtype=np.float64), _SMALLEST))

    weights = np.ones(len(labels)) if weights is None else weights

    def loss(log_temperature: float) -> float:
        return _loss(_softmax(logits / np.exp(log_temperature)), labels, weights)

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def apply_temperature(probs: FloatArray, temperature: float) -> FloatArray:
    """Distributions ``(N, K)`` at another temperature."""
    logits = np.log(np.maximum(np.asarray(probs, dtype=np.float64), _SMALLEST))
    return _softmax(logits / temperature)


def _loss(probs: FloatArray, labels: IntArray, weights: FloatArray) -> float:
    """Mean negative log-likelihood of the labels."""
    given = np.maximum(probs[np.arange(len(labels)), labels], _SMALLEST)
    return float(-(weights * np.log(given)).sum() / weights.sum())


def _class_bias(logits: FloatArray, target: FloatArray) -> FloatArray:
    """Log factors ``(K,)`` whose removal brings the classes' mean probabilities to the target."""
    bias = np.zeros(logits.shape[1])
    for _ in range(_ROUNDS):
        excess = _softmax(logits - bias).mean(axis=0) / target
        step = np.log(np.maximum(excess, _SMALLEST))
        bias += step
        if np.abs(step).max() < _TOLERANCE:
            break
    return bias


def _softmax(logits: FloatArray) -> FloatArray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: FloatArray = raised / raised.sum(axis=1, keepdims=True)
    return result
