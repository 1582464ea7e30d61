"""Take a language model's bias towards some labels out of its answers.

A model prefers label names for reasons that have nothing to do with the row: how frequent the name is, which
demonstration came last. That preference is the same for all rows, so it can be measured on the batch itself.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from mlcore.records import FloatArray, IntArray

_ROUNDS = 200
_TOLERANCE = 1e-6
_SMALLEST = 1e-12


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


def fit_temperature(probs: FloatArray, labels: IntArray) -> float:
    """The temperature that makes confidences fit verified labels best (Guo et al., 2017).

    Args:
        probs: ``(N, K)``.
        labels: ``(N,)``, verified label indices.

    Returns:
        A temperature between 0.05 and 20; over 1 softens the distributions.
    """
    logits = np.log(np.maximum(np.asarray(probs, dtype=np.float64), _SMALLEST))

    def loss(log_temperature: float) -> float:
        scaled = _softmax(logits / np.exp(log_temperature))
        return float(-np.log(np.maximum(scaled[np.arange(len(labels)), labels], _SMALLEST)).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def apply_temperature(probs: FloatArray, temperature: float) -> FloatArray:
    """Distributions ``(N, K)`` at another temperature."""
    logits = np.log(np.maximum(np.asarray(probs, dtype=np.float64), _SMALLEST))
    return _softmax(logits / temperature)


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
