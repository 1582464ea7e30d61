"""AG News, the LLM asked about a part of the rows: what that loses against asking about all, and how honest the risk is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlcore.config import DistillConfig
from mlcore.corpus import NoisyLabels
from mlcore.distill.distill import distill_labels
from mlcore.records import NO_LABEL
from tests.bench.harness import Options, Report
from tests.bench.scores import accuracy, mean, seeds
from tests.bench.unseen_cells import load_cell

ROWS = 3_000
MOST_LOST = {25: 0.005, 5: 0.02}  # by the percentage asked


def measure_sample(options: Options, report: Report, cache: Path) -> None:
    lost: dict[int, list[float]] = {percent: [] for percent in MOST_LOST}
    for seed in seeds(options):
        cell = load_cell(options, "agnews_20", seed, 300 if options.quick else ROWS)
        order, final = np.random.default_rng(seed).permutation(len(cell.given)), {}
        for percent in (100, *MOST_LOST):
            asked = order[: len(order) * percent // 100]
            given = np.full(len(order), NO_LABEL)
            given[asked] = cell.given[asked]
            noisy = NoisyLabels(given, None, np.full(len(order), NO_LABEL), cell.count)
            config = DistillConfig(options.extra.encoder, seed=seed)
            result = distill_labels(cell.corpus, noisy, config, cache_dir=cache)
            final[percent], wrong = accuracy(result.label, cell.truth), result.label != cell.truth
            rest = (given == NO_LABEL) | (percent == 100)
            report.row(
                data="agnews 20 %",
                seed=seed,
                asked=f"{percent} %",
                ours=final[percent],
                told_where_not_asked=float(result.risk[rest].mean()),
                wrong_where_not_asked=float(wrong[rest].mean()),
            )
        for percent, losses in lost.items():
            losses.append(final[100] - final[percent])
    for percent, losses in lost.items():
        report.measure(f"sample_{percent}_loss", mean(losses), must=f"<= {MOST_LOST[percent]}")
