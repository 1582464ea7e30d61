"""The focus view in a browser on a large corpus: how long after a key the next row is there.

The whole program runs as ``manage.py up`` starts it, on SQLite, with a project whose rows both models have judged and
whose features lie on disk, so that neighbours are looked for as well. A browser opens the focus view and answers 50
rows by keyboard, first with 150 ms to look at each, then without any pause. The time is the browser's own clock, from
the key to the frame in which another row is laid out.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.bench.harness import Options, Report, run_bench
from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.browser.people import browser_of
from tests.support.program import Program

ROWS, QUICK_ROWS = 100_000, 2_000
ANSWERS = 50
LOOKS_MS = {"150 ms to look": 150, "no pause": 0}

MAKE = """
import numpy as np
from django.conf import settings
from django.db import transaction
from annotation.models import Iteration, Prediction, Sample, Stage
from annotation.pipeline.ingest.duplicates import index_rows, store_run
from tests.support.factories import make_project, make_sample, make_user
rows, part = {rows}, 5_000
rng = np.random.default_rng(0)
with transaction.atomic():
    project = make_project(rows=0, owner=make_user("anna"))
    labels = project.label_list()
    for start in range(0, rows, part):
        made = [make_sample(project, place, labels) for place in range(start, min(rows, start + part))]
        for sample in made:
            place = sample.position
            sample.text += " and more of the same" * 10
            sample.label = sample.slm_label = labels[place % 2]
            sample.llm_label = labels[(place + (place % 3 == 0)) % 2]
            sample.source, sample.confidence, sample.clean_prob = "slm", 0.8, 0.3
            sample.flag = "inconsistent" if place % 3 == 0 else "right"
            sample.risk, sample.queue_rank, sample.clean_rank, sample.round = 1 - place / rows, place + 1, place + 1, 1
        Sample.objects.bulk_create(made)
    store_run(project, index_rows(project, 0)[0])
    iteration = Iteration.objects.create(
        project=project, number=1, started_from="llm", prompt={{}}, llm_settings={{}}, slm_settings={{}},
        labels=[{{"id": label.pk, "name": label.name, "description": ""}} for label in labels],
    )
    for kind in ("llm", "slm"):
        stage = Stage.objects.create(
            project=project, iteration=iteration, kind=kind, status="done", total=rows, done=rows
        )
    samples = list(project.samples.order_by("position").values_list("pk", "llm_label", "slm_label"))
    for start in range(0, rows, part):
        Prediction.objects.bulk_create(
            Prediction(sample_id=pk, iteration=iteration, source=source, label_id=label, verdict_id=slm,
                       raw="positive", calibrated=[0.6, 0.4], probs=[0.6, 0.4], risk=0.4)
            for pk, llm, slm in samples[start : start + part] for source, label in (("llm", llm), ("slm", slm))
        )
    folder = settings.RUN_DIR / str(stage.run_id)
    folder.mkdir(parents=True)
    np.save(folder / "keys.npy", np.array([pk for pk, _llm, _slm in samples]))
    np.save(folder / "features.npy", rng.normal(size=(rows, 384)).astype(np.float16))
print(project.pk)
"""

# From the key to the frame in which another row is laid out; rows that were not there ahead are waited for.
NEXT_ROW_MS = """() => new Promise((resolve) => {
    const before = document.querySelector(".focus-row.current").dataset.row, start = performance.now();
    document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "1", bubbles: true}));
    const look = () => requestAnimationFrame(() => setTimeout(() => {
        const now = document.querySelector(".focus-row.current");
        if (now && now.dataset.row !== before && now.firstElementChild.offsetHeight > 0) resolve(performance.now() - start);
        else look();
    }));
    look();
})"""


def measure(options: Options, report: Report) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coral_site.settings")
    rows = QUICK_ROWS if options.quick else ROWS
    with tempfile.TemporaryDirectory(prefix="coral-focus-") as folder, Program(Path(folder)) as program:
        program.start()
        address = f"{program.address}/projects/{program.execute(MAKE.format(rows=rows), seconds=300)}/focus/"
        with _browser() as browser, browser_of(browser, program, "anna") as context:
            page = context.new_page()
            page.goto(address)
            for words, look_ms in LOOKS_MS.items():
                _report(report, page, words, look_ms=look_ms, rows=rows)
        saved = program.query("SELECT COUNT(*) FROM annotation_correction")[0][0]
    report.measure("answers_lost", len(LOOKS_MS) * ANSWERS - saved, must="== 0")


@contextmanager
def _browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)


def _report(report: Report, page: Page, words: str, *, look_ms: int, rows: int) -> None:
    times: list[float] = []
    for _answer in range(ANSWERS):
        times.append(page.evaluate(NEXT_ROW_MS))
        page.wait_for_timeout(look_ms)
    expect(page.locator("#focus-sign")).to_contain_text("all saved")
    p95 = statistics.quantiles(times, n=20)[-1]
    report.row(
        rows=rows,
        reader=words,
        answers=ANSWERS,
        median_ms=statistics.median(times),
        p95_ms=p95,
        slowest_ms=max(times),
    )
    if look_ms:
        report.measure("focus_next_row_p95_ms", p95, unit="ms", must="< 100")
        report.measure("focus_next_row_slowest_ms", max(times), unit="ms", must="< 100")


if __name__ == "__main__":
    sys.exit(run_bench("focus", __doc__, measure))
