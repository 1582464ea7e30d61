"""Open doors: what a round trip through each tool's file loses, and how far a kept model is from the one that was fitted.

``kept_model_gap``: the largest share, over the networks, of a corpus' rows on which the model that was loaded from its folder
gives another label than the one in memory, refitted on all rows. ``api_covers_pages``: the share of the pages' actions
that the API has, too. ``api_500``: answers of 500 and more to requests made from the OpenAPI document.
``new_rows_accuracy``: of rows that no model has seen, by a model fitted to labels of which a quarter is wrong; beside
it what it says itself.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.bench.harness import Options, Report, in_process, open_program, run_bench

WRONG = 0.25  # share of given labels that are wrong, evenly
CASES = (
    ("mr.csv", "topic", "head"),
    ("tab_titanic.csv", "tabular", "table"),
    ("mr.csv", "topic", "finetune"),
)


def measure(options: Options, report: Report) -> None:
    with tempfile.TemporaryDirectory() as name:
        lost = in_process(_round_trips, Path(name) / "program")
        covered, statuses = in_process(_ask_api, Path(name) / "api")
        report.row(what="requests to the API", **{str(status): times for status, times in statuses.items()})
        gaps = []
        for number, (file, task, network) in enumerate(CASES):
            rows = 60 if network == "finetune" else 400 if options.quick or task == "tabular" else 2_000
            kept = in_process(_keep, options.corpus(file), task, network, rows, Path(name) / str(number))
            report.row(what=f"{file}, {network}, {rows:,} rows", **kept)
            gaps.append(kept["gap"])
    for format, values in lost.items():
        report.row(what=f"round trip through {format}", lost=values)
    tools = {tool for format, tool in _tools().items() if lost[format] == 0}
    report.measure("roundtrip_formats", len(tools), must=">= 6")
    report.measure("roundtrip_lost", sum(lost.values()), must="== 0")
    report.measure("kept_model_gap", max(gaps), must="<= 0.002")
    report.measure("api_covers_pages", covered, must="== 1")
    report.measure("api_500", sum(times for status, times in statuses.items() if status >= 500), must="== 0")


def _tools() -> dict[str, str]:
    from tests.support.doors import TOOLS

    return TOOLS


def _round_trips(folder: Path) -> dict[str, int]:
    """Values lost by format, of a judged project with corrections."""
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
    return {format: lost_values(project, format, folder / "files") for format in TOOLS}


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


def _keep(path: Path, task: str, network: str, rows: int, folder: Path) -> dict[str, Any]:
    """Fit, save, load and compare; and label rows that were held out."""
    from mlcore.classifier.classifier import About, Classifier
    from mlcore.classifier.fit import fit_classifier
    from mlcore.config import DistillConfig
    from mlcore.corpus import Corpus
    from mlcore.prompting.tasks import task_named
    from mlcore.records import Row
    from mlcore.slm.inputs import Monitor, prepare

    table = pd.read_csv(path, dtype=str, keep_default_na=False).sample(frac=1, random_state=0)
    target = "Survived" if task == "tabular" else "label"
    names = sorted(table[target].unique())
    truth = table[target].map(names.index).to_numpy()
    columns = [name for name in table.columns if name != target] if task == "tabular" else ["text"]
    texts = [
        task_named(task).show(Row(0, cells[0], dict(zip(columns, cells, strict=True))))
        for cells in table[columns].itertuples(index=False, name=None)
    ]
    given = truth[:rows].copy()
    rng = np.random.default_rng(0)
    wrong = rng.random(len(given)) < WRONG
    given[wrong] = (given[wrong] + rng.integers(1, len(names), int(wrong.sum()))) % len(names)
    known = table[:rows].reset_index(drop=True)
    corpus = Corpus(texts[:rows], known[columns] if task == "tabular" else None)
    config = DistillConfig(network=network, epochs=2 if network == "finetune" else 8)  # type: ignore[arg-type]
    monitor = Monitor(lambda progress: None, lambda: False)
    inputs = prepare(
        corpus, config, len(names), cache_dir=folder / "cache", weights_dir=None, monitor=monitor
    )
    ones = np.ones(len(given))
    fitted = fit_classifier(
        corpus,
        inputs,
        given,
        WRONG * ones,
        ones,
        config,
        About(names, task, columns),
        monitor,
        network=np.full((len(given), len(names)), 1 / len(names)) if network == "finetune" else None,
    )
    fitted.classifier.save(folder / "model")
    loaded = Classifier.load(folder / "model", cache_dir=folder / "cache")
    gap = float((loaded.predict(known).label != fitted.refitted.argmax(axis=1)).mean())
    new = table[rows : rows + 1_000]
    said = loaded.predict(new)
    right = float((said.label == truth[rows : rows + 1_000]).mean())
    return {"gap": gap, "new_rows_accuracy": round(right, 4), "told": round(1 - float(said.risk.mean()), 4)}


if __name__ == "__main__":
    run_bench("doors", __doc__, measure)
