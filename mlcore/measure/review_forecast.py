"""How many more rows to check, from the risks along the review queue, and when to stop."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

CURVE_POINTS = 100


def risk_curve(risks: Iterable[float], count: int) -> dict[str, list[float]]:
    """Expected errors along a queue of ``count`` rows, as about a hundred points: after so many rows, so many errors."""
    step = max(1, count // CURVE_POINTS)
    rows, errors, total = [0.0], [0.0], 0.0
    number = 0
    for number, risk in enumerate(risks, start=1):
        total += risk
        if number % step == 0:
            rows.append(float(number))
            errors.append(round(total, 4))
    if number % step:
        rows.append(float(number))
        errors.append(round(total, 4))
    return {"rows": rows, "errors": errors}


def expected_errors(curve: dict[str, list[float]], *, done: int, more: float, wrong_left: float) -> float:
    """Errors in the next ``more`` rows of the queue, whose first ``done`` are reviewed, if ``wrong_left`` are left in all.

    The models' risks give the shape, the measured number of wrong rows the height.
    """
    rows, errors = np.array(curve["rows"]), np.array(curve["errors"])
    behind = float(np.interp(done, rows, errors))
    left = float(errors[-1]) - behind
    if left <= 0.0:
        return 0.0
    return wrong_left * (float(np.interp(done + more, rows, errors)) - behind) / left


def rows_to_remove(
    curve: dict[str, list[float]], *, done: int, remove: float, wrong_left: float
) -> int | None:
    """How many more rows of the queue to review until ``remove`` errors are found; None if the queue doesn't hold so many."""
    if remove <= 0.0:
        return 0
    rows = np.array(curve["rows"])
    most = int(rows[-1]) - done
    if most <= 0 or expected_errors(curve, done=done, more=most, wrong_left=wrong_left) < remove - 1e-6:
        return None
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        if expected_errors(curve, done=done, more=middle, wrong_left=wrong_left) < remove:
            low = middle
        else:
            high = middle
    return high
