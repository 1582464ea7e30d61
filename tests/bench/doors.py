"""Open doors: what a round trip through each tool's file loses, and how far a kept model is from the one that was fitted.

``kept_model_gap``: the largest share, over the networks, of a corpus' rows on which the model that was loaded from its folder
gives another label than the one in memory, refitted on all rows; beside it the most by which a probability differs, and the
share of its rarest label. ``api_covers_pages``: the share of the pages' actions
that the API has, too. ``api_500``: answers of 500 and more to requests made from the OpenAPI document.
``new_rows_accuracy``: of rows that no model has seen, by a model fitted to labels of which a quarter is wrong; beside
it what it says itself.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tests.bench.harness import Options, Report, in_process, open_program, run_bench

if TYPE_CHECKING:
    from mlcore.corpus import Corpus
    from mlcore.records import IntArray

WRONG = 0.25  # share of given labels that are wrong, evenly
WORDS = 3_000  # that the encoder made here knows


@dataclass(frozen=True)
class Case:
    """A corpus and a network. ``encoder``: empty for the default one, ``tiny`` for one of random weights made here, for fine-tuning
    the default one on many rows takes a GPU. ``new``: rows that no model has seen."""

    file: str
    task: str
    network: str
    rows: int
    new: int = 1_000
    encoder: str = ""
    epochs: int = 8
    batch_size: int = 64
    learning_rate: float = 0.0

    @property
    def name(self) -> str:
        return " ".join(filter(None, [self.file, self.encoder, self.network]))


CASES = (
    Case("mr.csv", "topic", "head", 2_000),
    Case("tab_titanic.csv", "tabular", "table", 400),
    Case("mr.csv", "topic", "finetune", 2_000, encoder="tiny", epochs=4, batch_size=16, learning_rate=1e-3),
    Case("mr.csv", "topic", "finetune", 200, new=200, epochs=2),
)


def measure(options: Options, report: Report) -> None:
    with tempfile.TemporaryDirectory() as name:
        lost = in_process(_round_trips, Path(name) / "program")
        covered, statuses = in_process(_ask_api, Path(name) / "api")
        report.row(what="requests to the API", **{str(status): times for status, times in statuses.items()})
        gaps = []
        for number, case in enumerate(CASES):
            rows = min(case.rows, 200) if options.quick else case.rows
            kept = in_process(_keep, options.corpus(case.file), case, rows, Path(name) / str(number))
            report.row(what=f"{case.name}, {rows:,} rows", **kept)
            gaps.append(kept["gap"])
    for format, (_tool, values) in lost.items():
        report.row(what=f"round trip through {format}", lost=values)
    report.measure(
        "roundtrip_formats", len({tool for tool, values in lost.values() if values == 0}), must=">= 6"
    )
    report.measure("roundtrip_lost", sum(values for _tool, values in lost.values()), must="== 0")
    report.measure("kept_model_gap", max(gaps), must="<= 0.002")
    report.measure("api_covers_pages", covered, must="== 1")
    report.measure("api_500", sum(times for status, times in statuses.items() if status >= 500), must="== 0")


def _round_trips(folder: Path) -> dict[str, tuple[str, int]]:
    """The tool and the values lost by format, of a judged project with corrections."""
    open_program(folder)
    from annotation.pipeline.review import corrections
    from tests.support.doors import TOOLS, lost_values
    from tests.support.factories import make_project
    from tests.support.pages import judge_rows

    project = make_project(rows=200)
    judge_rows(project)
    for sample in project.samples.order_by("position")[:40]:
        corrections.correct_sample(sample.pk, label_id=sample.reference_id, user=project.owner)
    (folder / "files").mkdir()
    return {format: (tool, lost_values(project, format, folder / "files")) for format, tool in TOOLS.items()}


def _ask_api(folder: Path) -> tuple[float, dict[int, int]]:
    """The share of the pages' actions that the API covers, and how often it answered what."""
    open_program(folder)
    from django.test.utils import setup_test_environment

    from annotation.api import access
    from annotation.views.rate_limit import RateLimit
    from tests.annotation.api.test_coverage import api_covers_pages
    from tests.annotation.api.test_fuzz import api_500

    setup_test_environment()
    access.REQUESTS = RateLimit(100_000)  # the limit is not what is looked for
    statuses, _ = api_500()
    return api_covers_pages(), dict(sorted(statuses.items()))


def _keep(path: Path, case: Case, rows: int, folder: Path) -> dict[str, Any]:
    """Fit, save, load and compare; and label rows that were held out."""
    from mlcore.classifier.classifier import About, Classifier
    from mlcore.classifier.fit import fit_classifier
    from mlcore.config import EMBEDDED_ENCODER, DistillConfig
    from mlcore.slm.inputs import Monitor, prepare

    table, columns, names, truth = _read(path, case.task)
    rng = np.random.default_rng(0)
    given = truth[:rows].copy()
    wrong = rng.random(rows) < WRONG
    given[wrong] = (given[wrong] + rng.integers(1, len(names), int(wrong.sum()))) % len(names)
    known, new = table[:rows].reset_index(drop=True), table[rows : rows + case.new]
    corpus = _corpus(known, columns, case.task)
    config = DistillConfig(
        encoder=case.encoder or EMBEDDED_ENCODER,
        network=case.network,  # type: ignore[arg-type]
        epochs=case.epochs,
        batch_size=case.batch_size,
        learning_rate=case.learning_rate,
    )
    if case.encoder:
        _save_encoder(folder / case.encoder, corpus.texts)
    monitor = Monitor(lambda progress: None, lambda: False)
    cache = folder / "cache"
    inputs = prepare(corpus, config, len(names), cache_dir=cache, weights_dir=folder, monitor=monitor)
    # Two more trainings of the default encoder take too long; the program has these probabilities from its own training.
    stand_in = None
    if case.network == "finetune" and not case.encoder:
        stand_in = _out_of_fold(given, len(names))
    fitted = fit_classifier(
        corpus,
        inputs,
        given,
        np.full(rows, WRONG),
        np.ones(rows),
        config,
        About(names, case.task, columns),
        monitor,
        network=stand_in,
    )
    fitted.classifier.save(folder / "model")
    loaded = Classifier.load(folder / "model", cache_dir=cache, weights_dir=folder)
    back, said = loaded.predict(known), loaded.predict(new)
    return {
        "gap": float((back.label != fitted.refitted.argmax(axis=1)).mean()),
        "most_off": float(np.abs(back.probs - fitted.refitted).max()),
        "rarest_label": float(np.bincount(back.label, minlength=len(names)).min() / rows),
        "new_rows_accuracy": round(float((said.label == truth[rows : rows + case.new]).mean()), 4),
        "told": round(1 - float(said.risk.mean()), 4),
    }


def _read(path: Path, task: str) -> tuple[pd.DataFrame, list[str], list[str], IntArray]:
    """The rows in a random order, the columns that models see, the labels' names, and the true labels by number."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False).sample(frac=1, random_state=0)
    target = "Survived" if task == "tabular" else "label"
    names = sorted(table[target].unique())
    columns = [name for name in table.columns if name != target] if task == "tabular" else ["text"]
    return table, columns, names, table[target].map(names.index).to_numpy()


def _corpus(table: pd.DataFrame, columns: list[str], task: str) -> Corpus:
    from mlcore.corpus import Corpus
    from mlcore.prompting.tasks import task_named
    from mlcore.records import Row

    texts = [
        task_named(task).show(Row(0, cells[0], dict(zip(columns, cells, strict=True))))
        for cells in table[columns].itertuples(index=False, name=None)
    ]
    return Corpus(texts, table[columns] if task == "tabular" else None)


def _out_of_fold(given: IntArray, count: int) -> Any:
    """Probabilities ``(N, K)`` as of a network that says the given label of three rows in four, and is as sure as that."""
    rng = np.random.default_rng(1)
    said = np.where(rng.random(len(given)) < 0.75, given, (given + 1) % count)
    probs = np.full((len(given), count), 0.25 / (count - 1))
    probs[np.arange(len(given)), said] = 0.75
    return probs


def _save_encoder(folder: Path, texts: Sequence[str]) -> None:
    """An encoder of random weights that knows the commonest words of the texts."""
    from tests.support.tiny_encoder import save_encoder  # torch is loaded in the case's own process

    words = Counter(word for text in texts for word in re.findall(r"[a-z]+", text.lower()))
    known = [word for word, _ in words.most_common(WORDS)]
    save_encoder(folder, known, width=32, layers=2, feed_forward=64)


if __name__ == "__main__":
    run_bench("doors", __doc__, measure)
