"""One model over all views, fitted to the rows that people checked.

A conditional logit (McFadden 1974): z = sum of weight times log-probability over the views, plus an intercept for each
class, with normal priors around sound defaults. With a probability of its own, the shared error, the true label has nothing
to do with what the views say: that keeps a risk on rows on which all agree.

Few answers leave the parameters uncertain, and the most likely ones make the risk look lower than it is. So probabilities are
averaged over the posterior.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import approx_fprime, minimize
from scipy.special import expit, logit, softmax

from mlcore.corpus import NoisyLabels
from mlcore.probabilities import log_probs
from mlcore.records import FloatArray, IntArray
from mlcore.verdict import constants

Cost = Callable[[FloatArray], tuple[float, FloatArray]]

LEAPS, LEAP = 5, 0.35  # of one step of the sampler: about one deviation of each parameter
PIECE = 16_384  # rows to which the model is applied at once


@dataclass(frozen=True)
class Fusion:
    """``logs (N, K)``: log-probabilities of the true label. ``llm_weight``: of the first view, where the others' mean is 1."""

    logs: FloatArray
    llm_weight: float


def answer_weights(noisy: NoisyLabels) -> FloatArray:
    """How much each checked row counts in the fit, in their order.

    Rows that were drawn at random count by how many rows they stand for, 1 on average. Rows chosen otherwise stand for
    themselves: risky rows that people were shown first would make all rows look risky.
    """
    if noisy.stands_for is None:
        return np.ones(int(noisy.looked_at.sum()))
    stands_for = noisy.stands_for[noisy.looked_at]
    drawn = stands_for > 0
    if not drawn.any():
        return np.ones(len(stands_for))
    mean = stands_for[drawn].mean()
    return np.asarray(np.where(drawn, stands_for / mean, min(1.0, 1.0 / mean)))


def fit_fusion(views: FloatArray, rows: IntArray, verified: IntArray, weights: FloatArray) -> Fusion:
    """Fit the model to checked rows and apply it to all.

    Args:
        views: ``(V, N, K)`` log-probabilities, the LLM's first.
        rows: ``(R,)``, the checked rows.
        verified: ``(R,)``, their true labels.
        weights: ``(R,)``, how much each counts.
    """
    count, classes = views.shape[0], views.shape[2]
    mean, deviation = parameter_prior(count, classes)
    checked, places = views[:, rows], np.arange(len(rows))  # (V, R, K)

    def cost(values: FloatArray) -> tuple[float, FloatArray]:
        shared = expit(values[-1])
        probs = softmax(np.tensordot(values[:count], checked, 1) + values[count:-1], axis=1)  # (R, K)
        right = probs[places, verified]
        mixed = (1 - shared) * right + shared / classes
        off = (values - mean) / deviation
        pull = weights * (1 - shared) * right / mixed
        slope = pull[:, None] * probs  # of the loss, by each row's z
        slope[places, verified] -= pull
        by_shared = -(weights * (1 / classes - right) / mixed).sum() * shared * (1 - shared)
        by_view = np.einsum("vrk,rk->v", checked, slope)
        gradient = np.concatenate([by_view, slope.sum(axis=0), [by_shared]]) + off / deviation
        return float(np.square(off).sum() / 2 - (weights * np.log(mixed)).sum()), gradient

    bounds = [(0.0, 5.0)] * count + [(-4.0, 4.0)] * classes + [(-8.0, 2.0)]
    best = minimize(cost, mean, jac=True, method="L-BFGS-B", bounds=bounds).x
    drawn = draw_parameters(cost, best, float(np.min(deviation**-2.0)))
    logs = np.empty(views.shape[1:])
    for start in range(0, len(logs), PIECE):
        piece = views[:, start : start + PIECE]
        logs[start : start + PIECE] = log_probs(np.mean([apply(values, piece) for values in drawn], axis=0))
    return Fusion(logs, float(best[0] / max(best[1:count].mean(), 0.05)))


def draw_parameters(cost: Cost, best: FloatArray, least: float) -> FloatArray:
    """Sets of parameters ``(DRAWS, P)`` from their posterior, by Hamiltonian Monte Carlo (Neal, "MCMC using Hamiltonian dynamics",
    2011), each direction scaled by its curvature.

    Args:
        cost: negative log-density up to a constant, and its gradient ``(P,)``.
        best: ``(P,)``, where it is lowest.
        least: the prior's lowest curvature, which no direction's falls far below.
    """
    rng = np.random.default_rng(0)
    curvature = approx_fprime(best, lambda values: cost(values)[1], 1e-4)
    spread, axes = np.linalg.eigh((curvature + curvature.T) / 2)
    scale = axes / np.sqrt(np.maximum(spread, least / 2))
    drawn = np.empty((constants.DRAWS, len(best)))
    values, (energy, gradient) = best, cost(best)
    for step in range(-constants.WARM_UP, constants.DRAWS):
        momentum, moved, slope = rng.normal(size=len(best)), values, gradient
        before = energy + momentum @ momentum / 2
        for _ in range(LEAPS):
            momentum = momentum - LEAP / 2 * scale.T @ slope
            moved = moved + LEAP * scale @ momentum
            after, slope = cost(moved)
            momentum = momentum - LEAP / 2 * scale.T @ slope
        if np.log(rng.random()) < before - after - momentum @ momentum / 2:
            values, energy, gradient = moved, after, slope
        drawn[max(step, 0)] = values
    return drawn


def parameter_prior(count: int, classes: int) -> tuple[FloatArray, FloatArray]:
    """Means and deviations ``(V + K + 1,)`` before any answer: of the views' weights, the class intercepts, and the logit of
    the shared error."""
    weights = [*constants.VIEW_WEIGHTS, *[constants.VIEW_WEIGHTS[-1]] * count][:count]
    deviations = [*constants.VIEW_DEVIATIONS, *[constants.VIEW_DEVIATIONS[-1]] * count][:count]
    mean = np.array([*weights, *[0.0] * classes, logit(constants.SHARED_ERROR)])
    deviation = np.array([*deviations, *[constants.CLASS_DEVIATION] * classes, constants.SHARED_DEVIATION])
    return mean, deviation


def apply(values: FloatArray, views: FloatArray) -> FloatArray:
    """Probabilities ``(N, K)`` of the true label by one set of parameters ``(V + K + 1,)`` over views ``(V, N, K)``."""
    count, shared = len(views), expit(values[-1])
    probs = softmax(np.tensordot(values[:count], views, 1) + values[count:-1], axis=1)
    return np.asarray((1 - shared) * probs + shared / views.shape[2])
