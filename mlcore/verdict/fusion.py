"""One model over all views, fitted to the rows that people checked.

A conditional logit (McFadden 1974): z = sum of weight times log-probability over the views, plus an intercept for each
class, with ridges towards sound defaults. With the probability ``shared_error`` the true label has nothing to do with what
the views say: that keeps a risk on rows on which all agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit, softmax

from mlcore.corpus import NoisyLabels
from mlcore.probabilities import log_probs
from mlcore.records import FloatArray, IntArray
from mlcore.verdict import constants


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


def fit_fusion(
    views: FloatArray, rows: IntArray, verified: IntArray, weights: FloatArray, *, llm_weight: float
) -> Fusion:
    """Fit the model to checked rows and apply it to all.

    Args:
        views: ``(V, N, K)`` log-probabilities, the LLM's first.
        rows: ``(R,)``, the checked rows.
        verified: ``(R,)``, their true labels.
        weights: ``(R,)``, how much each counts.
        llm_weight: the weight of the LLM's view that was estimated before any answer; it holds up to the default.
    """
    count, classes = views.shape[0], views.shape[2]
    extra = count - len(constants.VIEW_WEIGHTS)
    prior = np.array([*constants.VIEW_WEIGHTS, *[constants.VIEW_WEIGHTS[-1]] * max(extra, 0)][:count])
    prior[0] = min(prior[0], llm_weight)
    shared_error = constants.SHARED_ERROR
    checked, places = views[:, rows], np.arange(len(rows))  # (V, R, K)
    agreed, independent = shared_error * constants.SHARED_ROWS, (1 - shared_error) * constants.SHARED_ROWS

    def cost(values: FloatArray) -> tuple[float, FloatArray]:
        view, bias, shared = values[:count], values[count:-1], expit(values[-1])
        probs = softmax(np.tensordot(view, checked, 1) + bias, axis=1)  # (R, K)
        right = probs[places, verified]
        mixed = (1 - shared) * right + shared / classes
        loss = -(weights * np.log(mixed)).sum() - agreed * np.log(shared) - independent * np.log(1 - shared)
        loss += constants.VIEW_RIDGE * np.square(view - prior).sum() / 2
        loss += constants.CLASS_RIDGE * np.square(bias).sum() / 2
        pull = weights * (1 - shared) * right / mixed
        slope = pull[:, None] * probs  # of the loss, by each row's z
        slope[places, verified] -= pull
        by_view = np.einsum("vrk,rk->v", checked, slope) + constants.VIEW_RIDGE * (view - prior)
        by_bias = slope.sum(axis=0) + constants.CLASS_RIDGE * bias
        by_shared = -(weights * (1 / classes - right) / mixed).sum() * shared * (1 - shared)
        by_shared += independent * shared - agreed * (1 - shared)
        return float(loss), np.concatenate([by_view, by_bias, [by_shared]])

    start = np.concatenate([prior, np.zeros(classes), [logit(shared_error)]])
    bounds = [(0.0, 4.0)] * count + [(-3.0, 3.0)] * classes + [(-6.0, 3.0)]
    best = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    view, shared = best[:count], float(expit(best[-1]))
    probs = softmax(np.tensordot(view, views, 1) + best[count:-1], axis=1)
    logs = log_probs((1 - shared) * probs + shared / classes)
    return Fusion(logs, float(view[0] / max(view[1:].mean(), 0.05)))
