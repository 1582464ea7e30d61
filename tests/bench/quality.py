"""Final labels of every method on the same noisy labels, side by side.

Corpora: MR with ChatGPT's stored labels; AG News labelled by the embedded LLM; AG News, SMS and Waimai with wrong labels
that a weak classifier makes, the airline tweets too, on which nothing was tuned; two tables with wrong labels made in
the same way. Methods: the labels as they are; plain distillation, the paper's loop and its variant after AdaMatch (the
network's out-of-fold predictions); cleanlab's filter and retrain; ours. All use the same encoder and, but for the last, no
second opinion.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mlcore.config import SECOND_ENCODER, DistillConfig
from mlcore.corpus import Corpus
from mlcore.label.calibrate import calibrate_batch
from mlcore.records import FloatArray
from mlcore.slm.inputs import Monitor, prepare
from tests.bench.harness import Options, Report, run_bench
from tests.bench.peers import network_probs
from tests.bench.quality_flips import measure_flips, measure_others, measure_tables
from tests.bench.quality_mr import measure_mr
from tests.bench.quality_unseen import measure_unseen
from tests.bench.scores import accuracy, index_labels, mean, ours, read, score_flags, seeds
from tests.bench.unseen_cells import CELLS, load_cell
from tests.bench.unseen_sample import measure_sample

LLM_ROWS = 2000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--only",
        default="mr,llm,flips,others,tables,finetune,scaling",
        help="parts to run, separated by commas; “unseen” (corpora that nobody tuned for), “sample” and “classes” run only if named",
    )
    parser.add_argument(
        "--cache", type=Path, help="where features are kept between runs; default a temporary folder"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], choices=[0, 1, 2], help="which seeds"
    )
    parser.add_argument("--rows", type=int, default=2_500, help="most rows of a cell, for the part “unseen”")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS, help="of “unseen”")
    parser.add_argument(
        "--leave-out", action="store_true", help="“unseen” with constants chosen on other corpora, too"
    )
    parser.add_argument("--encoder", default=SECOND_ENCODER, help="for “unseen” and “sample”")
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=[1000, 3000, 10_000, 50_000],
        help="rows, for the part “scaling”",
    )


def measure(options: Options, report: Report) -> None:
    parts = options.extra.only.split(",")
    with tempfile.TemporaryDirectory() as temporary:
        cache = options.extra.cache or Path(temporary)
        for name, part in (
            ("mr", measure_mr),
            ("llm", measure_llm),
            ("flips", measure_flips),
            ("others", measure_others),
            ("tables", measure_tables),
            ("finetune", measure_finetune),
            ("scaling", measure_scaling),
            ("unseen", measure_unseen),
            ("sample", measure_sample),
            ("classes", measure_classes),
        ):
            if name in parts:
                part(options, report, cache)


# ---- AG News, labelled by the embedded LLM ----


def measure_llm(options: Options, report: Report, cache: Path) -> None:
    frame = read(options, "agnews.csv").sample(60 if options.quick else LLM_ROWS, random_state=0)
    names = sorted(frame["label"].unique())
    truth = index_labels(frame["label"], names)
    probs = calibrate_batch(embedded_labels(list(frame["text"]), names, cache))
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
        slm, flags = accuracy(result.prediction, truth), score_flags(result, truth)
        report.row(data="agnews, embedded LLM", seed=seed, ours_slm=slm, **row, **flags)
        gains.append(row)
    report.measure("agnews_gain_over_llm", mean(g["ours"] - g["labels"] for g in gains), must=">= 0.07")
    report.measure(
        "agnews_gain_over_distillation", mean(g["ours"] - g["plain"] for g in gains), must=">= 0.06"
    )


def embedded_labels(texts: list[str], names: list[str], cache: Path) -> FloatArray:
    """The embedded LLM's distribution of every text: self-annotated demonstrations, then all rows. Kept in the cache."""
    from mlcore.config import LlmConfig
    from mlcore.label.annotate import label_rows, self_annotate
    from mlcore.llm.model import open_model
    from mlcore.prompting.tasks import task_named
    from mlcore.records import LabelSet, Row

    task, labels = task_named("topic"), LabelSet.of(*names)
    config = LlmConfig()
    model = open_model(config, token="", allowed_hosts=[], weights_dir=None, cache_dir=cache)
    asked = repr((model.identity, config.sets, task.default_prompt, names, texts))
    kept = cache / f"llm-{hashlib.sha256(asked.encode()).hexdigest()[:16]}.npy"
    if kept.exists():
        return np.asarray(np.load(kept))
    rows = [Row(number, text) for number, text in enumerate(texts)]
    common: dict[str, Any] = {
        "task": task,
        "template": task.default_prompt,
        "labels": labels,
        "should_stop": bool,
        "sets": config.sets,
    }
    shown = self_annotate(model, rows, count=8, seed=0, **common)
    probs = np.full((len(texts), len(names)), 1.0 / len(names))
    for answer in label_rows(model, rows, demonstrations=shown, **common):
        if answer.probs is not None:
            probs[answer.key] = answer.probs
    np.save(kept, probs)
    return probs


# ---- the whole encoder, fine-tuned ----


def measure_finetune(options: Options, report: Report, cache: Path) -> None:
    """MiniLM trained end to end on 2,000 rows of AG News with 20 % wrong labels, beside the head on its frozen features."""
    frame, flips = read(options, "agnews.csv"), read(options, "flips/agnews_20_0.csv")
    names = sorted(frame["label"].unique())
    rows = np.random.default_rng(0).permutation(len(frame))[: 60 if options.quick else LLM_ROWS]
    corpus = Corpus(list(frame["text"].iloc[rows]))
    truth = index_labels(frame["label"], names)[rows]
    given = index_labels(flips["noisy_label"], names)[rows]
    for network, epochs, warmup in (("head", 12, 3), ("finetune", 2, 1)):
        for method in ("plain", "coral"):
            settings: Any = {"network": network, "method": method, "epochs": epochs, "warmup_epochs": warmup}
            begun = time.perf_counter()
            probs = network_probs(corpus, given, len(names), DistillConfig(**settings), cache)
            right, seconds = accuracy(probs.argmax(axis=1), truth), time.perf_counter() - begun
            report.row(data="agnews 20 %, 2,000 rows", **settings, out_of_fold=right, seconds=seconds)


# ---- time ----


def measure_scaling(options: Options, report: Report, cache: Path) -> None:
    """Time against rows, on copies of MR with a number appended, and against plain distillation; with features of both."""
    sizes = (200, 400) if options.quick else tuple(options.extra.sizes)
    frame = read(options, "mr.csv")
    texts, names = list(frame["text"]), sorted(frame["label"].unique())
    truth = index_labels(frame["label"], names)
    spent, ratio = [], 0.0
    for size in sizes:
        rows = np.arange(size) % len(texts)
        corpus = Corpus([f"{texts[row]} {number // len(texts)}" for number, row in enumerate(rows)])
        monitor = Monitor(lambda progress: None, lambda: False)
        begun, begun_cpu = time.perf_counter(), time.process_time()
        prepare(corpus, DistillConfig(), len(names), cache_dir=cache, weights_dir=None, monitor=monitor)
        features = time.perf_counter() - begun
        begun = time.perf_counter()
        ours(corpus, truth[rows], len(names), cache, 0)
        spent.append(features + time.perf_counter() - begun)
        cpu = time.process_time() - begun_cpu  # hardly changes with what else the machine does
        begun = time.perf_counter()
        network_probs(corpus, truth[rows], len(names), DistillConfig(method="plain"), cache)
        ratio = spent[-1] / (features + time.perf_counter() - begun)
        report.row(
            data="scaling",
            rows=size,
            seconds=spent[-1],
            cpu_seconds=cpu,
            features_seconds=features,
            ratio_to_plain=ratio,
        )
    slope = np.polyfit(np.log(sizes), np.log(spent), 1)[0]
    report.measure("ratio_to_distillation", ratio, must="< 3")
    report.measure("scaling_exponent", float(slope), must="<= 1.1")


def measure_classes(options: Options, report: Report, cache: Path) -> None:
    """Time of a whole training with 77 classes against plain distillation, both without the features, which are the same."""
    cell = load_cell(options, "banking77_20", 0, 300 if options.quick else LLM_ROWS)
    plain = DistillConfig(method="plain")
    network_probs(cell.corpus, cell.given, cell.count, replace(plain, epochs=1), cache)  # finds the features
    spent = []
    for train in (
        lambda: ours(cell.corpus, cell.given, cell.count, cache, 0),
        lambda: network_probs(cell.corpus, cell.given, cell.count, plain, cache),
    ):
        begun = time.process_time()
        train()
        spent.append(time.process_time() - begun)
    report.row(data="banking77 20 %", rows=len(cell.given), ours_seconds=spent[0], plain_seconds=spent[1])
    report.measure("classes_77_time_ratio", spent[0] / spent[1], unit="processor time", must="<= 3")


if __name__ == "__main__":
    raise SystemExit(run_bench("quality", __doc__, measure, add_arguments=add_arguments))
