"""Models and prompts side by side, on the rows that people answered blind and that all of them were asked about."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from annotation.jobs import kinds
from annotation.jobs.details import ComparisonDetail
from annotation.models import Project, Stage
from annotation.pipeline.measure.annotations import blind_answers
from mlcore.measure.agreement import paired_test
from mlcore.measure.estimate import Interval
from mlcore.records import BoolArray

SHOWN = 20  # newest comparisons that are looked at


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """One model with one prompt on the common rows.

    ``better``, ``worse``, ``chance``: against the first one, by McNemar's exact test; None for the first one itself.
    ``cost``: of 1,000 rows, None where no prices are set; ``latency``: mean seconds of an answer.
    """

    name: str
    model: str
    prompt: int
    accuracy: Interval
    unreadable: float
    cost: float | None
    latency: float | None
    better: int = 0
    worse: int = 0
    chance: float | None = None


def compare_models(project: Project) -> tuple[list[ComparedModel], int]:
    """The newest finished comparison of each model and prompt, the most accurate first, and the number of common rows."""
    stages = project.stages.filter(kind=kinds.COMPARISON.key, status=Stage.Status.DONE).order_by("-pk")[
        :SHOWN
    ]
    newest: dict[str, ComparisonDetail] = {}
    for detail in map(ComparisonDetail.of, stages):
        newest.setdefault(json.dumps(detail.asked_with, sort_keys=True), detail)
    details = list(newest.values())
    truth = {str(row): answer.label_id for row, answer in blind_answers(project).items()}
    common = sorted(row for row in truth if all(row in detail.answers for detail in details))
    if not details or not common:
        return [], 0
    right = [np.array([detail.answers[row] == truth[row] for row in common]) for detail in details]
    order = sorted(range(len(details)), key=lambda index: -right[index].sum())
    prompts = [json.dumps(detail.asked_with["prompt"], sort_keys=True) for detail in details]
    numbers = {prompt: number for number, prompt in enumerate(dict.fromkeys(reversed(prompts)), start=1)}
    best = right[order[0]]
    return [
        _compared(details[index], numbers[prompts[index]], common, right[index], None if place == 0 else best)
        for place, index in enumerate(order)
    ], len(common)


def _compared(
    detail: ComparisonDetail, prompt: int, common: Sequence[str], right: BoolArray, best: BoolArray | None
) -> ComparedModel:
    from scipy.stats import binomtest  # only where it is needed: pages load no scipy

    hits, rows = int(right.sum()), len(common)
    bounds = binomtest(hits, rows).proportion_ci(method="wilson")
    cost = detail.cost(*detail.answer_tokens)
    better, worse, chance = (0, 0, None) if best is None else paired_test(best, right)
    return ComparedModel(
        name=detail.name,
        model=detail.asked_with["model"][1],
        prompt=prompt,
        accuracy=Interval(hits / rows, bounds.low, bounds.high),
        unreadable=sum(detail.answers[row] is None for row in common) / rows,
        cost=None if cost is None else 1_000 * cost / len(detail.answers),
        latency=detail.latency,
        better=better,
        worse=worse,
        chance=chance,
    )
