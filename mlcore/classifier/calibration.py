"""How sure the kept model is: temperatures of its views, and the risk of its label, fitted to out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit

from mlcore.probabilities import SMALLEST, apply_temperature, fit_temperature, pool
from mlcore.records import FloatArray, IntArray

NETWORK = "network"


@dataclass(frozen=True)
class Calibration:
    """``views``: the temperature of each. ``ngrams``: of the views on n-grams, pooled; ``pooled``: of all.

    ``offset`` and ``slope`` lead from the log-odds of the highest probability being wrong to those of the risk
    (Platt, "Probabilistic outputs for support vector machines", 1999).
    """

    views: dict[str, float]
    ngrams: float
    pooled: float
    offset: float = 0.0
    slope: float = 1.0

    def pool(self, views: Mapping[str, FloatArray]) -> FloatArray:
        """Probabilities ``(N, K)`` from those of each view ``(N, K)``."""
        scaled = {name: apply_temperature(probs, self.views[name]) for name, probs in views.items()}
        parts = [scaled.pop(NETWORK)]
        if scaled:
            parts.append(apply_temperature(pool(list(scaled.values())), self.ngrams))
        return apply_temperature(pool(parts), self.pooled)

    def risk(self, probs: FloatArray) -> FloatArray:
        """The probability ``(N,)`` that the label with the highest probability is wrong."""
        return np.asarray(expit(self.offset + self.slope * _log_odds_wrong(probs)))


def fit_calibration(views: Mapping[str, FloatArray], labels: IntArray, risk: FloatArray) -> Calibration:
    """Temperatures at which the final labels are likeliest, and the risk.

    Args:
        views: ``(N, K)`` out-of-fold probabilities of each view.
        labels: ``(N,)``, final labels.
        risk: ``(N,)``, the probability that each of them is wrong.
    """
    weights = np.maximum(1.0 - risk, SMALLEST)
    temperatures = {name: fit_temperature(probs, labels, weights) for name, probs in views.items()}
    scaled = {name: apply_temperature(probs, temperatures[name]) for name, probs in views.items()}
    parts, ngrams = [scaled.pop(NETWORK)], 1.0
    if scaled:
        words = pool(list(scaled.values()))
        ngrams = fit_temperature(words, labels, weights)
        parts.append(apply_temperature(words, ngrams))
    pooled = pool(parts)
    temperature = fit_temperature(pooled, labels, weights)
    offset, slope = fit_risk(apply_temperature(pooled, temperature), labels, risk)
    return Calibration(temperatures, ngrams, temperature, offset, slope)


def fit_risk(probs: FloatArray, labels: IntArray, risk: FloatArray) -> tuple[float, float]:
    """Offset and slope of :class:`Calibration`; arguments as above.

    A prediction that is the final label is wrong as often as that; another one is wrong unless it is the true label by chance.
    One imagined row each pulls towards offset 0 and slope 1.
    """
    wrong = np.where(probs.argmax(axis=1) == labels, risk, 1.0 - risk / (probs.shape[1] - 1))
    odds = _log_odds_wrong(probs)

    def cost(values: FloatArray) -> tuple[float, FloatArray]:
        scores = values[0] + values[1] * odds
        loss = -(wrong * log_expit(scores) + (1.0 - wrong) * log_expit(-scores)).sum()
        excess = expit(scores) - wrong
        away = values - np.array([0.0, 1.0])
        slopes = np.array([excess.sum(), (excess * odds).sum()]) + away
        return float(loss + np.square(away).sum() / 2), slopes

    best = minimize(cost, [0.0, 1.0], jac=True, method="L-BFGS-B", bounds=[(-10.0, 10.0), (0.0, 10.0)])
    return float(best.x[0]), float(best.x[1])


def _log_odds_wrong(probs: FloatArray) -> FloatArray:
    return np.asarray(logit(np.clip(1.0 - probs.max(axis=1), 1e-6, 1.0 - 1e-6)))
