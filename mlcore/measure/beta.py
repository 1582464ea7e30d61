"""Quantiles of the beta distribution, for processes that must stay light: scipy costs 30 MB and its import time."""

from __future__ import annotations

import math
from functools import lru_cache

TINY = 1e-300


@lru_cache(maxsize=4096)
def beta_quantile(share: float, a: float, b: float) -> float:
    """The value below which ``share`` of Beta(a, b) lies, to about 1e-9. ``a = 0`` gives 0 and ``b = 0`` gives 1."""
    if a <= 0.0:
        return 0.0
    if b <= 0.0:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if beta_share(middle, a, b) < share:
            low = middle
        else:
            high = middle
        if high - low < 1e-10:
            break
    return (low + high) / 2


def beta_share(x: float, a: float, b: float) -> float:
    """The share of Beta(a, b) that lies below ``x``: the regularised incomplete beta function.

    By its continued fraction (DLMF 8.17.22), on the side where that converges fast.
    """
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    logs = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - math.exp(logs) * _fraction(1.0 - x, b, a) / b
    return math.exp(logs) * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction, by Lentz's method."""
    top, bottom = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    value = bottom
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for step in (even, odd):
            bottom = 1.0 / _away_from_zero(1.0 + step * bottom)
            top = _away_from_zero(1.0 + step / top)
            value *= top * bottom
        if abs(top * bottom - 1.0) < 1e-12:
            break
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > TINY else TINY
