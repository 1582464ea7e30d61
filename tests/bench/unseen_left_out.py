"""Constants of the model of people's answers, chosen on every second corpus and judged on the others, both ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any
from unittest import mock

from mlcore.verdict import constants
from tests.bench.harness import Report
from tests.bench.scores import mean

# Mean and deviation of the views' weights, of the class intercepts, of the shared error: those in use, and others around them.
CHOICES: tuple[Mapping[str, Any], ...] = tuple(
    {
        "VIEW_WEIGHTS": weights,
        "CLASS_DEVIATION": classes,
        "SHARED_ERROR": common,
        "SHARED_DEVIATION": deviation,
    }
    for weights, classes, (common, deviation) in product(
        ((0.7, 0.6, 0.4, 0.4), (1.0, 0.4, 0.3, 0.4)),
        (0.4, 0.8),
        ((0.12, 0.7), (0.05, 1.0), (0.2, 0.7)),
    )
)
FEWEST_CALLED_RIGHT = 0.03  # of the rows; of fewer, their error is chance
MOST_EXCESS, PENALTY = 1.2, 0.1  # an excess over the first costs this part of it


def measure_left_out(score: Callable[[], list[dict[str, Any]]], report: Report) -> None:
    """``score`` gives what is measured of each cell, named ``cell``, with the constants in use."""
    tried = []
    for choice in CHOICES:
        with mock.patch.multiple(constants, **choice):
            tried.append((choice, score()))
    corpora = sorted({corpus_of(cell["cell"]) for cell in tried[0][1]})
    judged: list[dict[str, Any]] = []
    for half in (corpora[::2], corpora[1::2]):
        chosen, cells = max(tried, key=lambda one: goodness([c for c in one[1] if not is_of(c, half)]))
        judged += [cell for cell in cells if is_of(cell, half)]
        report.row(data="left out", judged_on=" ".join(half), **{name: str(chosen[name]) for name in chosen})
    report.measure("left_out_mean_40", mean(cell["ours"] for cell in judged))
    report.measure("left_out_risk_ece_40", mean(cell["risk_error"] for cell in judged), must="<= 0.03")
    report.measure("left_out_likely_right_excess", worst_excess(judged), must="<= 1.3")


def is_of(cell: Mapping[str, Any], corpora: Sequence[str]) -> bool:
    return corpus_of(cell["cell"]) in corpora


def corpus_of(cell: str) -> str:
    """Two rates of wrong labels are one corpus."""
    source, _, rate = cell.rpartition("_")
    return source if rate.isdigit() else cell


def goodness(rows: Sequence[Mapping[str, Any]]) -> float:
    """Accuracy less the error of the risk, less a penalty where rows called right are wrong far more often than told."""
    right = mean(row["ours"] - row["risk_error"] for row in rows)
    return right - PENALTY * max(worst_excess(rows) - MOST_EXCESS, 0.0)


def worst_excess(cells: Sequence[Mapping[str, Any]]) -> float:
    """How many times more often than told the rows called right are wrong, over all draws of the worst large cell; 1 % is
    forgiven."""
    return max(
        (
            (cell["wrong_called_right"] - 0.01 * cell["called_right"]) / cell["told_called_right"]
            for cell in cells
            if cell["rows"] >= 1_000 and cell["called_right"] >= FEWEST_CALLED_RIGHT
        ),
        default=float("nan"),
    )
