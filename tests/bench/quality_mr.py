"""MR with ChatGPT's stored labels: final labels, clean set, review order, risk, time."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from mlcore.config import DistillConfig
from mlcore.corpus import Corpus, Distilled
from mlcore.records import NO_LABEL, IntArray
from tests.bench.harness import Options, Report
from tests.bench.peers import network_probs
from tests.bench.scores import (
    accuracy,
    calibration_error,
    class_balance,
    entropy,
    index_labels,
    mean,
    ours,
    read,
    score_flags,
    seeds,
)


def measure_mr(options: Options, report: Report, cache: Path) -> None:
    frame = read(options, "mr.csv")
    frame = frame[frame["split"] == "train"]
    if options.quick:
        frame = frame.sample(600, random_state=0)
    names = sorted(frame["label"].unique())
    truth, given = index_labels(frame["label"], names), index_labels(frame["llm_label"], names)
    corpus, readable = Corpus(list(frame["text"])), given != NO_LABEL
    results: list[Distilled] = []
    for seed in seeds(options):
        begun = time.perf_counter()
        result = ours(corpus, given, len(names), cache, seed)
        seconds = time.perf_counter() - begun
        results.append(result)
        begun = time.perf_counter()
        plain = network_probs(
            corpus, given, len(names), DistillConfig(method="plain", seed=seed), cache
        ).argmax(axis=1)
        plain_seconds = time.perf_counter() - begun
        paper = network_probs(
            corpus, given, len(names), DistillConfig(method="paper", seed=seed), cache
        ).argmax(axis=1)
        report.row(
            data="mr",
            seed=seed,
            labels=accuracy(given, truth),
            plain=accuracy(plain, truth),
            plain_filled=accuracy(np.where(readable, given, plain), truth),
            paper=accuracy(paper, truth),
            ours_slm=accuracy(result.prediction, truth),
            ours=accuracy(result.label, truth),
            **score_flags(result, truth),
            seconds=seconds,
            plain_seconds=plain_seconds,
        )
        if len(results) == 1:
            report.measure(
                "mr_seconds", seconds, unit="s, features not cached before the first seed", must="< 360"
            )
    kept = [class_wise_cleanest(result, given, len(names), 0.65) for result in results]
    balance = class_balance(given[readable], len(names))
    report.measure("mr_final_accuracy", mean(accuracy(r.label, truth) for r in results), must="> 0.9225")
    report.measure("mr_clean_purity_at_65", mean(accuracy(given[k], truth[k]) for k in kept), must="> 0.963")
    drifts = [float(np.abs(class_balance(given[k], len(names)) - balance).max()) for k in kept]
    report.measure("mr_balance_drift", max(drifts), must="< 0.01")
    reviewed = mean(reviewed_accuracy(r.order, r.label, truth, readable) for r in results)
    report.measure("mr_reviewed_10_accuracy", reviewed, must="> 0.954")
    chance = np.random.default_rng(0).permutation(len(truth))
    by_entropy = np.argsort(entropy(results[0].probs))[::-1]
    report.row(
        data="mr, 10 % reviewed",
        ours=reviewed,
        chance=reviewed_accuracy(chance, given, truth, readable),
        entropy=reviewed_accuracy(by_entropy, given, truth, readable),
    )
    report.measure(
        "mr_risk_ece",
        mean(risk_error_after_checks(corpus, given, truth, names, r, cache) for r in results),
        must="< 0.03",
    )


def risk_error_after_checks(
    corpus: Corpus, given: IntArray, truth: IntArray, names: list[str], first: Distilled, cache: Path
) -> float:
    """Expected calibration error of the risk of unchecked rows, after 200 rows were checked: the first 150 of the review
    queue and 50 drawn at random, as in the program."""
    drawn = np.random.default_rng(0).permutation(len(truth))[:50]
    checked = np.unique(np.concatenate([first.order[:150], drawn]))
    verified = np.full(len(truth), NO_LABEL)
    verified[checked] = truth[checked]
    result = ours(corpus, given, len(names), cache, 0, verified=verified)
    rest = verified == NO_LABEL
    return calibration_error(result.risk[rest], (result.label != truth)[rest])


def class_wise_cleanest(result: Distilled, given: IntArray, count: int, share: float) -> IntArray:
    """The cleanest share of each class."""
    kept = []
    for label in range(count):
        rows = np.flatnonzero(given == label)
        kept.append(rows[np.argsort(-result.rank[rows])[: round(share * len(rows))]])
    return np.concatenate(kept)


def reviewed_accuracy(order: IntArray, label: IntArray, truth: IntArray, rows: np.ndarray) -> float:
    """Accuracy over ``rows`` after the first tenth of them, in this order, was reviewed."""
    queue = order[rows[order]]
    after = label.copy()
    reviewed = queue[: len(queue) // 10]
    after[reviewed] = truth[reviewed]
    return accuracy(after[rows], truth[rows])
