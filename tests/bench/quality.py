"""Final labels of every method on the same noisy labels, side by side.

Corpora: MR with ChatGPT's stored labels; AG News labelled by the embedded LLM; AG News, SMS and Waimai with wrong labels
that a weak classifier makes; two tables with wrong labels made in the same way here. Methods: the labels as they are;
plain distillation and the paper's loop (the network's out-of-fold predictions); confident learning's filter and
retrain; ours. All use the same encoder and, but for the last, no second opinion.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.naive_bayes import MultinomialNB

from mlcore.config import DistillConfig
from mlcore.corpus import Corpus, Distilled, NoisyLabels
from mlcore.distill import distill
from mlcore.evidence import assign_folds, ngram_features
from mlcore.inputs import Monitor, prepare
from mlcore.records import NO_LABEL, FloatArray, IntArray
from tests.bench.harness import Options, Report, run_bench
from tests.bench.peers import filter_and_retrain, network_probs

SEEDS = (0, 1, 2)
PEERS: tuple[Literal["plain", "paper"], ...] = ("plain", "paper")
FLIPPED = ("agnews", "sms_spam")
RATES = (20, 40)
LLM_ROWS = 2000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--only", default="mr,llm,flips,tables,scaling", help="parts to run, separated by commas"
    )
    parser.add_argument(
        "--cache", type=Path, help="where features are kept between runs; default a temporary folder"
    )
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, 1 to 3")


def measure(options: Options, report: Report) -> None:
    parts = options.extra.only.split(",")
    with tempfile.TemporaryDirectory() as temporary:
        cache = options.extra.cache or Path(temporary)
        for name, part in (
            ("mr", measure_mr),
            ("llm", measure_llm),
            ("flips", measure_flips),
            ("tables", measure_tables),
            ("scaling", measure_scaling),
        ):
            if name in parts:
                part(options, report, cache)


# ---- MR with ChatGPT's labels ----


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
            seconds=seconds,
            plain_seconds=plain_seconds,
        )
        if seed == 0:
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


# ---- AG News, labelled by the embedded LLM ----


def measure_llm(options: Options, report: Report, cache: Path) -> None:
    frame = read(options, "agnews.csv").sample(60 if options.quick else LLM_ROWS, random_state=0)
    names = sorted(frame["label"].unique())
    truth = index_labels(frame["label"], names)
    probs = embedded_labels(list(frame["text"]), names, cache)
    given, corpus = probs.argmax(axis=1), Corpus(list(frame["text"]))
    gains = []
    for seed in seeds(options):
        plain = network_probs(
            corpus, given, len(names), DistillConfig(method="plain", seed=seed), cache
        ).argmax(axis=1)
        result = ours(corpus, given, len(names), cache, seed, probs=probs)
        row = {
            "labels": accuracy(given, truth),
            "plain": accuracy(plain, truth),
            "ours": accuracy(result.label, truth),
        }
        report.row(data="agnews, embedded LLM", seed=seed, ours_slm=accuracy(result.prediction, truth), **row)
        gains.append(row)
    report.measure("agnews_gain_over_llm", mean(g["ours"] - g["labels"] for g in gains), must=">= 0.07")
    report.measure(
        "agnews_gain_over_distillation", mean(g["ours"] - g["plain"] for g in gains), must=">= 0.06"
    )


def embedded_labels(texts: list[str], names: list[str], cache: Path) -> FloatArray:
    """The embedded LLM's calibrated distribution of every text: self-annotated demonstrations, then all rows."""
    from mlcore.calibrate import calibrate_batch
    from mlcore.config import LlmConfig
    from mlcore.label import label_rows, self_annotate
    from mlcore.llm.model import open_model
    from mlcore.records import LabelSet, Row
    from mlcore.tasks import task_named

    task, labels = task_named("topic"), LabelSet.of(*names)
    model = open_model(LlmConfig(), token="", allowed_hosts=[], weights_dir=None, cache_dir=cache)
    rows = [Row(number, text) for number, text in enumerate(texts)]
    common: dict[str, Any] = {
        "task": task,
        "template": task.default_prompt,
        "labels": labels,
        "should_stop": bool,
    }
    shown = self_annotate(model, rows, count=8, seed=0, **common)
    probs = np.full((len(texts), len(names)), 1.0 / len(names))
    for answer in label_rows(model, rows, demonstrations=shown, **common):
        if answer.probs is not None:
            probs[answer.key] = answer.probs
    return calibrate_batch(probs)


# ---- mistakes of a weak classifier ----


def measure_flips(options: Options, report: Report, cache: Path) -> None:
    margins = []
    for name in FLIPPED[-1:] if options.quick else FLIPPED:
        frame = read(options, f"{name}.csv")
        names = sorted(frame["label"].unique())
        for rate in RATES:
            for seed in seeds(options):
                flips = read(options, f"flips/{name}_{rate}_{seed}.csv")
                given = index_labels(flips["noisy_label"], names)
                truth = index_labels(frame["label"], names)
                rows = slice(0, 500 if options.quick else None)
                texts = list(frame["text"])[rows]
                scores = compare_texts(texts, given[rows], truth[rows], len(names), cache, seed)
                report.row(data=f"{name} {rate} %", seed=seed, **scores)
                margins.append((f"{name} {rate}", scores["ours"], best_peer(scores)))
    by_cell: dict[str, list[float]] = {}
    for cell, mine, peer in margins:
        by_cell.setdefault(cell, []).append(mine - peer)
    report.measure("flips_worst_margin", min(mean(values) for values in by_cell.values()), must=">= -0.003")
    report.measure("flips_mean_margin", mean(mean(values) for values in by_cell.values()), must="> 0")
    if not options.quick:
        measure_chinese(options, report, cache)


def measure_chinese(options: Options, report: Report, cache: Path) -> None:
    frame = read(options, "zh_waimai.csv")
    names = sorted(frame["label"].unique())
    truth, texts = index_labels(frame["label"], names), list(frame["text"])
    matrix = ngram_features(texts, "char")
    for seed in seeds(options):
        given = weak_mistakes(matrix, truth, 0.2, MultinomialNB(), seed)
        report.row(
            data="zh_waimai 20 %", seed=seed, **compare_texts(texts, given, truth, len(names), cache, seed)
        )


def compare_texts(
    texts: list[str], given: IntArray, truth: IntArray, count: int, cache: Path, seed: int
) -> dict[str, float]:
    corpus, config = Corpus(texts), DistillConfig(seed=seed)
    monitor = Monitor(lambda progress: None, lambda: False)
    matrix = prepare(corpus, config, count, cache_dir=cache, weights_dir=None, monitor=monitor).matrix
    probs, wrong = filter_and_retrain(matrix, texts, given, count, strength=3e-4, seed=seed)
    result = ours(corpus, given, count, cache, seed)
    scores = {"labels": accuracy(given, truth)}
    for method in PEERS:
        setting = DistillConfig(method=method, seed=seed)
        scores[method] = accuracy(network_probs(corpus, given, count, setting, cache).argmax(axis=1), truth)
    scores["confident_final"] = accuracy(np.where(wrong, probs.argmax(axis=1), given), truth)
    scores["confident_out_of_fold"] = accuracy(probs.argmax(axis=1), truth)
    return {**scores, "ours_slm": accuracy(result.prediction, truth), "ours": accuracy(result.label, truth)}


def best_peer(scores: dict[str, float]) -> float:
    """The best score of another method that trains a model."""
    return max(value for name, value in scores.items() if not name.startswith(("ours", "labels")))


def weak_mistakes(matrix: Any, truth: IntArray, rate: float, model: Any, seed: int) -> IntArray:
    """Labels of which ``rate`` are wrong: mistakes of a classifier trained on 5 % of the rows, its surest first."""
    rng = np.random.default_rng(seed)
    few = np.unique(
        np.concatenate(
            [
                rng.choice(
                    np.flatnonzero(truth == label),
                    max(3, round(0.05 * (truth == label).sum())),
                    replace=False,
                )
                for label in np.unique(truth)
            ]
        )
    )
    probs = model.fit(matrix[few], truth[few]).predict_proba(matrix)
    own = probs[np.arange(len(truth)), truth].copy()
    probs[np.arange(len(truth)), truth] = -1
    wrong = np.argsort(own - probs.max(axis=1), kind="stable")[: round(rate * len(truth))]
    given = truth.copy()
    given[wrong] = model.classes_[probs[wrong].argmax(axis=1)]
    return given


# ---- tables ----


def measure_tables(options: Options, report: Report, cache: Path) -> None:
    margins = []
    for name, target in (("tab_titanic", "Survived"), ("tab_adult", "income")):
        frame = read(options, f"{name}.csv")
        if options.quick:
            frame = frame.head(300)
        table = frame.drop(columns=[target])
        names = sorted(frame[target].unique())
        truth = index_labels(frame[target], names)
        texts = [
            ", ".join(f"{key}: {value}" for key, value in row.items()) for row in table.to_dict("records")
        ]
        corpus = Corpus(texts, table)
        monitor = Monitor(lambda progress: None, lambda: False)
        matrix = prepare(
            corpus, DistillConfig(), len(names), cache_dir=cache, weights_dir=None, monitor=monitor
        ).matrix
        for seed in seeds(options):
            given = weak_mistakes(matrix - matrix.min(axis=0), truth, 0.2, MultinomialNB(), seed)
            scores = {"labels": accuracy(given, truth)}
            for method in PEERS:
                setting = DistillConfig(method=method, seed=seed)
                guess = network_probs(corpus, given, len(names), setting, cache).argmax(axis=1)
                scores[method] = accuracy(guess, truth)
            scores["boosting"] = accuracy(boosted(matrix, texts, given, seed), truth)
            result = ours(corpus, given, len(names), cache, seed)
            scores |= {"ours_slm": accuracy(result.prediction, truth), "ours": accuracy(result.label, truth)}
            report.row(data=name, seed=seed, **scores)
            margins.append(scores["ours"] - best_peer(scores))
    report.measure("tabular_margin", mean(margins), must="> 0")


def boosted(matrix: FloatArray, texts: list[str], given: IntArray, seed: int) -> IntArray:
    """Out-of-fold predictions (N,) of gradient boosting on the noisy labels."""
    folds = assign_folds(texts, given, 5, seed=seed)
    guess = np.zeros(len(given), dtype=np.int64)
    for fold in range(5):
        model = HistGradientBoostingClassifier(random_state=seed).fit(
            matrix[folds != fold], given[folds != fold]
        )
        guess[folds == fold] = model.predict(matrix[folds == fold])
    return guess


# ---- time ----


def measure_scaling(options: Options, report: Report, cache: Path) -> None:
    """Time against rows, on copies of MR with a number appended, and against plain distillation; with features of both."""
    sizes = (200, 400) if options.quick else (1000, 3000, 10_000, 50_000)
    frame = read(options, "mr.csv")
    texts, names = list(frame["text"]), sorted(frame["label"].unique())
    truth = index_labels(frame["label"], names)
    spent, ratio = [], 0.0
    for size in sizes:
        rows = np.arange(size) % len(texts)
        corpus = Corpus([f"{texts[row]} {number // len(texts)}" for number, row in enumerate(rows)])
        monitor = Monitor(lambda progress: None, lambda: False)
        begun = time.perf_counter()
        prepare(corpus, DistillConfig(), len(names), cache_dir=cache, weights_dir=None, monitor=monitor)
        features = time.perf_counter() - begun
        begun = time.perf_counter()
        ours(corpus, truth[rows], len(names), cache, 0)
        spent.append(features + time.perf_counter() - begun)
        begun = time.perf_counter()
        network_probs(corpus, truth[rows], len(names), DistillConfig(method="plain"), cache)
        ratio = spent[-1] / (features + time.perf_counter() - begun)
        report.row(
            data="scaling", rows=size, seconds=spent[-1], features_seconds=features, ratio_to_plain=ratio
        )
    slope = np.polyfit(np.log(sizes), np.log(spent), 1)[0]
    report.measure("ratio_to_distillation", ratio, must="< 3")
    report.measure("scaling_exponent", float(slope), must="<= 1.1")


# ---- shared ----


def ours(
    corpus: Corpus,
    given: IntArray,
    count: int,
    cache: Path,
    seed: int,
    *,
    probs: FloatArray | None = None,
    verified: IntArray | None = None,
) -> Distilled:
    nobody = np.full(len(given), NO_LABEL)
    labels = NoisyLabels(given, probs, nobody if verified is None else verified, count)
    return distill(
        corpus,
        labels,
        DistillConfig(seed=seed),
        on_progress=lambda progress: None,
        should_stop=lambda: False,
        cache_dir=cache,
    )


def read(options: Options, name: str) -> pd.DataFrame:
    return pd.read_csv(options.corpus(name), dtype=str, keep_default_na=False)


def seeds(options: Options) -> tuple[int, ...]:
    return SEEDS[:1] if options.quick else SEEDS[: options.extra.seeds]


def index_labels(labels: pd.Series, names: list[str]) -> IntArray:
    return np.array([names.index(label) if label in names else NO_LABEL for label in labels], dtype=np.int64)


def accuracy(labels: IntArray, truth: IntArray) -> float:
    return float((labels == truth).mean())


def mean(values: Any) -> float:
    return float(np.mean(list(values)))


def class_balance(labels: IntArray, count: int) -> FloatArray:
    return np.asarray(np.bincount(labels, minlength=count) / len(labels))


def entropy(probs: FloatArray) -> FloatArray:
    return np.asarray(-(probs * np.log(np.maximum(probs, 1e-12))).sum(axis=1))


def calibration_error(risk: FloatArray, wrong: np.ndarray, *, bins: int = 15) -> float:
    """Mean distance of predicted and actual error rate over equally wide bins of the risk, weighted by rows."""
    place = np.minimum((risk * bins).astype(int), bins - 1)
    parts = [
        abs(risk[place == b].mean() - wrong[place == b].mean()) * (place == b).mean()
        for b in np.unique(place)
    ]
    return float(np.sum(parts))


if __name__ == "__main__":
    raise SystemExit(run_bench("quality", __doc__, measure, add_arguments=add_arguments))
