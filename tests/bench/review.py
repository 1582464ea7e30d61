"""A simulated review on MR with ChatGPT's labels: the reference label answers.

Which order finds most of the file's wrong labels in its first rows: our queue, chance, the small model's entropy, or the
least clean probability (the paper's and every noisy-label tool's). And how often the interval of the measured accuracy
holds the truth, over 1,000 simulated audits at each size: of a file that nobody touched, and of one in which people decide
rows in bulk before, between and after draws (the scenarios of ``tests/annotation/pipeline/measure/test_bulk_coverage.py``).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from mlcore.config import DistillConfig
from mlcore.corpus import Corpus, Distilled, NoisyLabels
from mlcore.distill.distill import distill_labels
from mlcore.records import NO_LABEL, BoolArray, FloatArray, IntArray
from tests.bench.harness import Options, Report, open_program, run_bench
from tests.bench.scores import count_contradictions
from tests.support.audits import coverage, leave_errors

NAMES = ["negative", "positive"]
SHARES = (5, 10, 20)
AUDIT_ROWS = (50, 100, 400)
AUDITS = 1_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--cache", type=Path, help="where features are kept; default a temporary folder")
    parser.add_argument("--parts", nargs="+", default=["order", "bulk"], choices=["order", "bulk"])


def measure(options: Options, report: Report) -> None:
    if "order" in options.extra.parts:
        measure_orders(options, report)
    if "bulk" in options.extra.parts:
        measure_bulk_coverage(options, report)


def measure_orders(options: Options, report: Report) -> None:
    frame = pd.read_csv(options.corpus("mr.csv"), keep_default_na=False)
    frame = frame[frame["split"] == "train"]
    if options.quick:
        frame = frame.sample(600, random_state=0)
    truth, given = (
        np.array([NAMES.index(name) if name else NO_LABEL for name in frame[column]])
        for column in ("label", "llm_label")
    )
    ratios: dict[int, list[float]] = {share: [] for share in SHARES}
    covered: list[float] = []
    contradictions = 0
    with tempfile.TemporaryDirectory() as temporary:
        for seed in range(1 if options.quick else options.extra.seeds):
            noisy = NoisyLabels(given, None, np.full(len(given), NO_LABEL), len(NAMES))
            result = distill_labels(
                Corpus(list(frame["text"])),
                noisy,
                DistillConfig(seed=seed),
                cache_dir=options.extra.cache or Path(temporary),
            )
            wrong = result.label != truth
            compare_orders(report, seed, orders(result, seed), wrong, ratios)
            contradictions += count_contradictions(result)
            if seed == 0:
                covered = measure_coverage(report, wrong, given != result.prediction, result)
    for share, values in ratios.items():
        report.measure(f"errors_found_ratio_at_{share}", float(np.mean(values)), must=">= 1")
    report.measure("flag_contradictions", contradictions, must="== 0")
    report.measure("interval_coverage", min(covered), unit="the worst of all files and sizes", must=">= 0.93")


def orders(result: Distilled, seed: int) -> dict[str, IntArray]:
    """Row numbers, first to be reviewed first."""
    return {
        "ours": result.order,
        "random": np.random.default_rng(seed).permutation(len(result.order)),
        "entropy": np.argsort(-entropy(result.probs), kind="stable"),
        "least clean probability": np.argsort(result.rank, kind="stable"),
    }


def entropy(probs: FloatArray) -> FloatArray:
    return np.asarray(-(probs * np.log(np.maximum(probs, 1e-12))).sum(axis=1))


def compare_orders(
    report: Report, seed: int, found_by: dict[str, IntArray], wrong: BoolArray, ratios: dict[int, list[float]]
) -> None:
    """Errors per 100 reviewed rows of every order, at each share of the file."""
    for share in SHARES:
        rows = len(wrong) * share // 100
        found = {name: float(wrong[order[:rows]].sum()) for name, order in found_by.items()}
        ratios[share].append(found["ours"] / max(max(found[name] for name in found if name != "ours"), 1.0))
        per_hundred = {name: 100 * count / rows for name, count in found.items()}
        after = 1 - (wrong.sum() - found["ours"]) / len(wrong)
        report.row(seed=seed, reviewed=f"{share} %", **per_hundred, accuracy_after_ours=after)


def measure_coverage(report: Report, wrong: BoolArray, differ: BoolArray, result: Distilled) -> list[float]:
    files = {
        "as it came out": wrong,
        "99.5 % right": leave_errors(wrong, 0.005),
        "no error where the models agree": wrong & differ,
    }
    covered = []
    for name, file in files.items():
        for rows in AUDIT_ROWS:
            held, _mean, width = coverage(file, differ, result.risk, rows)
            report.row(file=name, checked=rows, accuracy=1 - file.mean(), coverage=held, half_width=width / 2)
            covered.append(held)
    return covered


def measure_bulk_coverage(options: Options, report: Report) -> None:
    with tempfile.TemporaryDirectory() as folder:
        open_program(Path(folder))
        from tests.annotation.pipeline.measure.test_bulk_coverage import SCENARIOS, SIZES
        from tests.annotation.pipeline.measure.test_bulk_coverage import coverage as bulk_coverage

        covered = []
        for scenario in SCENARIOS[:1] if options.quick else SCENARIOS:
            for rows in SIZES:
                held = bulk_coverage(scenario, rows, audits=10 if options.quick else AUDITS, seed=1)
                report.row(bulk=scenario.__name__.replace("_", " "), checked=rows, coverage=held)
                covered.append(held)
    report.measure(
        "bulk_interval_coverage", min(covered), unit="the worst of all orders and sizes", must=">= 0.93"
    )


if __name__ == "__main__":
    raise SystemExit(run_bench("review", __doc__, measure, add_arguments=add_arguments))
