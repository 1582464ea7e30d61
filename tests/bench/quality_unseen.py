"""Corpora that nobody tuned for: final labels before anybody is asked, after 40 random answers, and after a tenth is reviewed.

All methods have the same features and the same cells of at most ``--rows`` rows. Answers are simulated by the reference labels,
and the verdict is decided anew after them as the program does it: without a training.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mlcore.config import DistillConfig
from mlcore.corpus import Distilled, NoisyLabels
from mlcore.probabilities import calibrate, log_probs
from mlcore.records import NO_LABEL, FloatArray, IntArray
from mlcore.verdict.combine import llm_log_vote
from mlcore.verdict.review_order import RISKY
from mlcore.verdict.update import update_verdict
from tests.bench.harness import Options, Report
from tests.bench.peers import fit_logit
from tests.bench.review import orders
from tests.bench.scores import accuracy, calibration_error, count_contradictions, mean, seeds
from tests.bench.unseen_cells import FEWER_ROWS, QUICK_CELLS, Cell, load_cell
from tests.bench.unseen_left_out import measure_left_out, worst_excess
from tests.bench.unseen_views import Views, decide_unasked, make_views

ANSWERS, DRAWS = 40, 3
STEPS = (
    3  # in which the rest of the tenth is reviewed, each by the order that follows from the answers so far
)

Decide = Callable[[IntArray], tuple[IntArray, FloatArray]]  # verified (N,) -> labels (N,), risk (N,)


@dataclass(frozen=True)
class Case:
    """A cell with what was trained on it, and our result before anybody was asked."""

    cell: Cell
    views: Views
    result: Distilled
    seed: int

    def decide(self, verified: IntArray) -> tuple[IntArray, FloatArray]:
        """Ours, fitted to answers."""
        verdict = update_verdict(self.result.views, self.noisy(verified), self.result.evidence)
        return verdict.label, verdict.risk

    def decide_by_logit(self, verified: IntArray) -> tuple[IntArray, FloatArray]:
        """A peer that works with the same answers: one conditional logit over the first training's opinions, no posterior."""
        known = np.where(verified != NO_LABEL, verified, self.cell.given)
        opinions = [
            *np.moveaxis(self.result.views.astype(np.float64), 1, 0)[:2],
            self.views.networks["paper"],
        ]
        logs = [log_probs(calibrate(opinion, known)) for opinion in opinions]
        probs = fit_logit(np.stack([llm_log_vote(self.noisy(verified)), *logs]), verified)
        answered = verified != NO_LABEL
        return np.where(answered, verified, probs.argmax(axis=1)), np.where(
            answered, 0, 1 - probs.max(axis=1)
        )

    def noisy(self, verified: IntArray) -> NoisyLabels:
        return NoisyLabels(self.cell.given, self.cell.probs, verified, self.cell.count)


def measure_unseen(options: Options, report: Report, cache: Path) -> None:
    rows = 300 if options.quick else options.extra.rows
    print(f"At most {rows} rows of each cell; fewer: {FEWER_ROWS}.", flush=True)
    cases = [
        make_case(
            load_cell(options, name, seed, rows), DistillConfig(options.extra.encoder, seed=seed), cache
        )
        for name in (QUICK_CELLS if options.quick else options.extra.cells)
        for seed in seeds(options)
    ]
    measure_unasked(cases, report)
    measure_asked(cases, report)
    measure_queue(cases, report)
    if options.extra.leave_out:
        measure_left_out(partial(score_draws, cases), report)


def make_case(cell: Cell, config: DistillConfig, cache: Path) -> Case:
    views = make_views(cell, config, cache)
    return Case(cell, views, decide_unasked(cell, views), config.seed)


def by_cell(cases: Sequence[Case], scores: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """The scores of each cell, averaged over the seeds."""
    grouped = defaultdict(list)
    for case, score in zip(cases, scores, strict=True):
        grouped[case.cell.name].append(score)
    return [{"cell": name, **average(group)} for name, group in grouped.items()]


def average(scores: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means of what is a number."""
    return {name: mean(score[name] for score in scores) for name in scores[0] if name != "cell"}


# ---- nobody asked ----


def measure_unasked(cases: Sequence[Case], report: Report) -> None:
    scores = []
    for case in cases:
        scores.append(score_methods(case))
        wrong_guess = case.result.evidence["teacher_wrong_when_contradicted"]
        report.row(data=case.cell.name, seed=case.seed, asked=0, **scores[-1], llm_wrong_told=wrong_guess)
    cells = by_cell(cases, scores)
    means = average(cells)
    report.row(data="mean", seed="", asked=0, **means)
    best = max(value for name, value in means.items() if name not in ("labels", "ours"))
    report.measure("unseen_mean_unasked", means["ours"], must=f">= {max(means['labels'] + 0.025, best):.4f}")
    worst = min(cell["ours"] - cell["labels"] for cell in cells)
    report.measure("unseen_worst_loss_unasked", worst, must=">= -0.01")
    contradicting = sum(count_contradictions(case.result) for case in cases)
    report.measure("flag_contradictions", contradicting, must="== 0")


def score_methods(case: Case) -> dict[str, float]:
    given, truth, views = case.cell.given, case.cell.truth, case.views
    refitted = views.refitted.argmax(axis=1)
    return {
        "labels": accuracy(given, truth),
        "plain": accuracy(views.networks["plain"].argmax(axis=1), truth),
        "paper": accuracy(views.networks["paper"].argmax(axis=1), truth),
        "cleanlab_replace": accuracy(np.where(views.wrong, refitted, given), truth),
        "cleanlab_refit": accuracy(refitted, truth),
        "ours": accuracy(case.result.label, truth),
    }


# ---- 40 random answers, and a tenth of the rows reviewed ----


def measure_asked(cases: Sequence[Case], report: Report) -> None:
    scores = []
    for case in cases:
        scores.append(score_asked(case))
        report.row(data=case.cell.name, seed=case.seed, asked=ANSWERS, **scores[-1])
    cells = by_cell(cases, scores)
    means = average(cells)
    report.row(data="mean", seed="", asked=ANSWERS, **means)
    report.measure("unseen_mean_40", means["ours"], must=f">= {means['labels'] + 0.06:.4f}")
    worst = min(cell["ours"] - max(cell["labels"], cell["paper"]) for cell in cells)
    report.measure("unseen_worst_loss_40", worst, must=">= -0.01")
    report.measure(
        "unseen_reviewed_10", means["reviewed_10"], must=f">= {means['logit_reviewed_10'] + 0.015:.4f}"
    )
    report.measure("likely_right_excess", worst_excess(cells), must="<= 1.3")
    report.measure("risk_ece_40", means["risk_error"], must="<= 0.03")
    report.measure("risk_ece_40_if_perfect", means["risk_error_if_perfect"])


def score_asked(case: Case) -> dict[str, float]:
    """Means over the draws: of the rows not asked, see :func:`score_draw`, and beside other methods; then the accuracy of all
    rows, a tenth reviewed."""
    given, truth = case.cell.given, case.cell.truth
    paper = case.views.networks["paper"].argmax(axis=1)
    scores: list[dict[str, float]] = []
    for draw in range(DRAWS):
        verified = ask_at_random(truth, draw)
        rest = verified == NO_LABEL
        scores.append(
            {
                "labels": accuracy(given[rest], truth[rest]),
                "paper": accuracy(paper[rest], truth[rest]),
                "logit": accuracy(case.decide_by_logit(verified)[0][rest], truth[rest]),
                **score_draw(case, verified, draw),
            }
        )
        for name, decide in (("", case.decide), ("logit_", case.decide_by_logit)):
            scores[-1][f"{name}reviewed_10"] = review_tenth(decide, verified, truth)
    return average(scores)


def score_draws(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """What :func:`score_draw` measures of each cell."""
    scores = []
    for case in cases:
        drawn = [ask_at_random(case.cell.truth, draw) for draw in range(DRAWS)]
        scores.append(average([score_draw(case, verified, draw) for draw, verified in enumerate(drawn)]))
    return by_cell(cases, scores)


def ask_at_random(truth: IntArray, draw: int) -> IntArray:
    """The answers to ``ANSWERS`` random rows, ``NO_LABEL`` elsewhere."""
    asked = np.random.default_rng(draw).choice(len(truth), ANSWERS, replace=False)
    verified = np.full(len(truth), NO_LABEL)
    verified[asked] = truth[asked]
    return verified


def score_draw(case: Case, verified: IntArray, draw: int) -> dict[str, float]:
    """How right our labels of the rows not asked are, and how honest their risk is.

    ``wrong_called_right`` and ``told_called_right`` are shares of all these rows. ``risk_error_if_perfect`` is what chance
    leaves of the calibration error of the same risks where they are exactly right.
    """
    rest = verified == NO_LABEL
    label, risk = (values[rest] for values in case.decide(verified))
    wrong, called_right = label != case.cell.truth[rest], risk <= RISKY
    perfect = np.random.default_rng(draw).random(len(risk)) < risk
    return {
        "rows": len(label) + ANSWERS,
        "ours": 1.0 - float(wrong.mean()),
        "risk_error": calibration_error(risk, wrong),
        "risk_error_if_perfect": calibration_error(risk, perfect),
        "called_right": float(called_right.mean()),
        "wrong_called_right": float((wrong & called_right).mean()),
        "told_called_right": float((risk * called_right).mean()),
    }


def review_tenth(decide: Decide, verified: IntArray, truth: IntArray) -> float:
    """Accuracy of all rows after a tenth is reviewed: the answers that are there, then the riskiest rows in a few steps."""
    verified = verified.copy()
    left = max(len(truth) // 10 - int((verified != NO_LABEL).sum()), 0)
    for step in range(STEPS):
        risk = np.where(verified == NO_LABEL, decide(verified)[1], -1.0)
        rows = np.argsort(-risk, kind="stable")[: left * (step + 1) // STEPS - left * step // STEPS]
        verified[rows] = truth[rows]
    return accuracy(decide(verified)[0], truth)


# ---- the queue before anybody was asked ----


def measure_queue(cases: Sequence[Case], report: Report) -> None:
    """Errors in the first tenth of the queue against the best simple order of each cell."""
    scores = []
    for case in cases:
        wrong = case.result.label != case.cell.truth
        first = {name: order[: len(wrong) // 10] for name, order in orders(case.result, case.seed).items()}
        scores.append({name: float(wrong[rows].sum()) for name, rows in first.items()})
        report.row(data=case.cell.name, seed=case.seed, asked="queue", **scores[-1])
    ratios = [
        cell["ours"] / max(max(value for name, value in cell.items() if name not in ("cell", "ours")), 1.0)
        for cell in by_cell(cases, scores)
    ]
    report.measure("queue_worst_ratio_10", min(ratios), must=">= 0.97")
