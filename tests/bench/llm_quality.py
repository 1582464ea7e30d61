"""How right the embedded LLM is without any human label: raw and calibrated, on MR and AG News.

Demonstrations come from self-annotation only. Reference labels are read here, for measuring, and go nowhere else.
MR's file is sorted by label (its first 2,000 train rows are all negative), so rows are drawn at random with a seed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlcore.config import LlmConfig
from mlcore.label.annotate import label_rows, self_annotate
from mlcore.label.calibrate import calibrate_batch
from mlcore.llm import LanguageModel, open_model
from mlcore.measure.metrics import accuracy, expected_calibration_error, macro_f1
from mlcore.prompting.tasks import task_named
from mlcore.records import Demonstration, IntArray, LabelSet, Row
from tests.bench.harness import Options, Report, run_bench

SLICE = 100  # rows; short rows are asked first within a slice, and a run that is stopped has whole slices


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus to label, and the bar for its calibrated accuracy."""

    name: str
    task: str
    labels: LabelSet
    must: str


CORPORA = (
    Corpus("mr", "sentiment", LabelSet.of("negative", "positive"), ">= 0.80"),
    Corpus("agnews", "topic", LabelSet.of("World", "Sports", "Business", "Sci/Tech"), ">= 0.70"),
    Corpus("zh_waimai", "sentiment", LabelSet.of("差评", "好评"), ""),
)


@dataclass
class Run:
    """What a corpus' run has found so far; kept in a file, a run that was stopped goes on."""

    demonstrations: list[Demonstration] = field(default_factory=list)
    annotation_seconds: float = 0.0
    probs: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def load(cls, path: Path | None) -> Run:
        if path is None or not path.exists():
            return cls()
        stored = json.loads(path.read_text())
        return cls(
            **stored | {"demonstrations": [Demonstration(**each) for each in stored["demonstrations"]]}
        )

    def save(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(asdict(self)))


def measure(options: Options, report: Report) -> None:
    rows = 60 if options.quick else options.extra.rows
    config = LlmConfig(kind="local", batch_size=32)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as opened:
        cache = options.extra.cache or Path(scratch)

        @lru_cache
        def model() -> LanguageModel:  # not before an answer is missing
            found = open_model(config, token="", allowed_hosts=[], weights_dir=None, cache_dir=cache)
            opened.callback(found.close)
            return found

        for corpus in CORPORA:
            if corpus.name in options.extra.corpora:
                for seed in range(options.extra.seeds):
                    measure_corpus(corpus, model, options, report, rows=rows, seed=seed)


def measure_corpus(
    corpus: Corpus,
    model: Callable[[], LanguageModel],
    options: Options,
    report: Report,
    *,
    rows: int,
    seed: int,
) -> None:
    corpus_rows, reference = read_corpus(options.corpus(f"{corpus.name}.csv"), corpus.labels, rows=rows)
    began = time.perf_counter()
    task = task_named(corpus.task)
    asked: dict[str, Any] = {
        "task": task,
        "template": task.default_prompt,
        "labels": corpus.labels,
        "should_stop": lambda: False,
        "sets": options.extra.sets or LlmConfig().sets,
    }
    kept = options.extra.answers and options.extra.answers / f"{corpus.name}-{rows}-{seed}.json"
    run = Run.load(kept)
    if not run.demonstrations:
        run.demonstrations = self_annotate(model(), corpus_rows, count=8, seed=seed, **asked)
        run.annotation_seconds = time.perf_counter() - began
        run.save(kept)
    waiting = [row for row in corpus_rows if str(row.key) not in run.probs]
    for start in range(0, len(waiting), SLICE):
        began = time.perf_counter()
        part = waiting[start : start + SLICE]
        for answer in label_rows(model(), part, demonstrations=run.demonstrations, **asked):
            assert answer.probs is not None, answer.error
            run.probs[str(answer.key)] = answer.probs.tolist()
        run.seconds += time.perf_counter() - began
        run.save(kept)
        print(f"  {corpus.name}: {len(run.probs)} of {len(corpus_rows)}", file=sys.stderr, flush=True)
    demonstrations = run.demonstrations
    probs = np.array([run.probs[str(row.key)] for row in corpus_rows])
    calibrated = calibrate_batch(probs)
    right = np.mean([corpus.labels.names.index(d.label) == reference[d.key] for d in demonstrations])
    for name, found in (("raw", probs), ("calibrated", calibrated)):
        report.row(
            corpus=corpus.name,
            method=name,
            seed=seed,
            rows=len(found),
            accuracy=accuracy(found.argmax(axis=1), reference),
            macro_f1=macro_f1(found.argmax(axis=1), reference, len(corpus.labels)),
            ece=expected_calibration_error(found, reference),
            demonstrations_right=float(right),
            annotation_seconds=run.annotation_seconds,
            rows_per_second=len(found) / run.seconds,
        )
    if seed:
        return
    report.measure(f"{corpus.name}_raw_accuracy", accuracy(probs.argmax(axis=1), reference))
    report.measure(
        f"{corpus.name}_calibrated_accuracy", accuracy(calibrated.argmax(axis=1), reference), must=corpus.must
    )
    report.measure(f"{corpus.name}_ece_before", expected_calibration_error(probs, reference))
    report.measure(f"{corpus.name}_ece_after", expected_calibration_error(calibrated, reference))


def read_corpus(path: Path, labels: LabelSet, *, rows: int) -> tuple[list[Row], IntArray]:
    """A random draw of a corpus' rows (of its train part, where it has one), and their reference labels (N,)."""
    frame = pd.read_csv(path, keep_default_na=False)
    if (frame["split"] == "train").any():
        frame = frame[frame["split"] == "train"]
    frame = frame.sample(n=min(rows, len(frame)), random_state=0)
    reference = np.array([labels.names.index(name) for name in frame["label"]], dtype=np.int64)
    return [Row(key, text) for key, text in enumerate(frame["text"])], reference


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = [corpus.name for corpus in CORPORA]
    parser.add_argument("--rows", type=int, default=2000, help="rows of each corpus")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds of the self-annotation")
    parser.add_argument("--corpora", nargs="+", default=["mr", "agnews"], choices=names)
    parser.add_argument(
        "--sets", type=int, metavar="N", help="sets of demonstrations (default: the program's)"
    )
    parser.add_argument(
        "--answers", type=Path, metavar="DIR", help="keep answers here, and go on where they end"
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the converted weights here")


if __name__ == "__main__":
    sys.exit(run_bench("llm_quality", __doc__, measure, add_arguments=add_arguments))
