"""Arithmetic on class distributions ``(N, K)``: losses, temperature, class shares, pooled opinions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from mlcore.records import NO_LABEL, FloatArray, IntArray

SMALLEST = 1e-12  # a smaller probability counts as this one, so that logarithms are finite
COLDEST, HOTTEST = 0.05, 20.0  # bounds of a fitted temperature
SHARE_ROUNDS, SHARE_TOLERANCE = 200, 1e-6


def log_probs(probs: FloatArray) -> FloatArray:
    """Logarithms of probabilities, finite and in float64."""
    return np.asarray(np.log(np.maximum(np.asarray(probs, dtype=np.float64), SMALLEST)))


def cross_entropy(probs: FloatArray, labels: IntArray) -> FloatArray:
    """Cross-entropy ``(N,)`` in nats of labels ``(N,)`` under probabilities ``(N, K)``."""
    return -log_probs(probs[np.arange(len(labels)), labels])


def pool(views: Sequence[FloatArray]) -> FloatArray:
    """The normalised product ``(N, K)`` of several opinions ``(N, K)``."""
    return np.asarray(softmax(np.sum([log_probs(view) for view in views], axis=0), axis=1))


def fit_temperature(probs: FloatArray, labels: IntArray, weights: FloatArray | None = None) -> float:
    """The temperature at which the labels are likeliest (Guo et al., "On calibration of modern neural networks", 2017).

    Args:
        probs: ``(N, K)``.
        labels: ``(N,)``, label indices.
        weights: ``(N,)``, how many rows each stands for; None for one each.

    Returns:
        A temperature between 0.05 and 20; over 1 softens the distributions.
    """

    def loss(log_temperature: float) -> float:
        scaled = apply_temperature(probs, float(np.exp(log_temperature)))
        return float(np.average(cross_entropy(scaled, labels), weights=weights))

    best = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(best.x))


def apply_temperature(probs: FloatArray, temperature: float) -> FloatArray:
    """Distributions ``(N, K)`` at another temperature."""
    return np.asarray(softmax(log_probs(probs) / temperature, axis=1))


def calibrate(probs: FloatArray, labels: IntArray) -> FloatArray:
    """Distributions ``(N, K)`` at the temperature that fits the labels ``(N,)``; rows without a label are scaled alike."""
    labelled = labels != NO_LABEL
    if not labelled.any():
        return probs
    return apply_temperature(probs, fit_temperature(probs[labelled], labels[labelled]))


def match_shares(probs: FloatArray, shares: FloatArray, *, strength: float = 1.0) -> FloatArray:
    """Scale each class of ``probs (N, K)`` by one factor, so that the classes' mean probabilities become ``shares (K,)``.

    Args:
        probs: ``(N, K)``.
        shares: ``(K,)``, the mean probabilities wanted.
        strength: power of the factors; 1 reaches the shares, 0 changes nothing.
    """
    logs = log_probs(probs)
    bias = np.zeros(logs.shape[1])
    for _ in range(SHARE_ROUNDS):
        means = softmax(logs - bias, axis=1).mean(axis=0)
        step = log_probs(means / np.maximum(shares, SMALLEST))
        bias += step
        if np.abs(step).max() < SHARE_TOLERANCE:
            break
    return np.asarray(softmax(logs - strength * bias, axis=1))
