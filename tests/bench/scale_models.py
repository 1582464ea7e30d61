"""The parts of :mod:`tests.bench.scale` in which models of this machine work: features of texts, and an embedded LLM.

Workers of one thread, each with a data folder of its own, share a store of files.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

from tests.bench.harness import Report
from tests.support.program import Program

FEATURE_ROWS, QUICK_FEATURE_ROWS = 20_000, 10_000  # in parts of 5,000
LOCAL_ROWS, QUICK_LOCAL_ROWS = 4_000, 2_000  # in parts of 1,000
MOST_SECONDS = 580

# Texts of a dozen words, all different, since what is encoded once is encoded for all projects.
MAKE = """
import random
from dataclasses import replace
from django.contrib.auth.models import User
from annotation.models import Prediction, Sample, Stage
from annotation.models.sample import LlmLabel
from annotation.pipeline.distill.start_distillation import start_filtering
from annotation.pipeline.iterate import start_round
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
owner = User.objects.create_user("owner-of-{name}")
project = configure.create_project(name={name!r}, task_type="sentiment", owner=owner)
slm = replace(project.distill_config, encoder="all-minilm-l6-v2", epochs=1, warmup_epochs=1)
configure.set_slm(project, config=slm, chain_stages=False)
project.columns, project.content_columns = ["text"], ["text"]
project.save()
configure.set_labels(project, [LabelDraft("positive"), LabelDraft("negative")])
chance = random.Random({name!r})
words = ["the", "film", "was", "a", "long", "bright", "dull", "walk", "through", "an", "empty", "town", "of", "plots", "and", "jokes"]
texts = [f"{{place}} " + " ".join(chance.choices(words, k=12)) for place in range({rows})]
Sample.objects.bulk_create(
    [
        Sample(project=project, position=place, external_id=str(place), text=text, fields=[text], content_hash=place)
        for place, text in enumerate(texts)
    ],
    batch_size=1_000,
)
"""
FILTER = """
iteration = start_round.start_round(project, started_from="llm", user=owner)
labels = list(project.labels.values_list("pk", flat=True))
said = [LlmLabel(key, labels[number % 2], 0.9) for number, key in enumerate(project.samples.values_list("pk", flat=True))]
Sample.objects.write_llm_labels(said, round_number=1)
Prediction.objects.bulk_create(
    [Prediction(sample_id=row.sample_id, iteration=iteration, source="llm", label_id=row.label_id) for row in said], batch_size=1_000
)
iteration.stages.update(status=Stage.Status.DONE, done={rows})
print(start_filtering(iteration, user=owner).pk)
"""
LABEL = """
config = replace(project.llm_config, demonstrations=0, second_question_percent=0, asked_percent=100)
configure.set_llm(project, config=config, token=None)
print(start_round.start_round(project, started_from="llm", user=owner).stages.get().pk)
"""


class Machines:
    """Workers with folders of their own, beside whoever else uses the program's database and broker."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.program, self.folder, self.workers = program, folder, list[subprocess.Popen[bytes]]()
        self._number = 0

    def seconds(self, queues: str, machines: int, make: str, ended: str) -> float:
        """How long so many machines take for what ``make`` starts, until the query ``ended`` finds its stage."""
        stage = int(self.program.execute(make, seconds=300).splitlines()[-1])
        self.program.clear_log()
        for _ in range(machines):
            self._number += 1
            own = self.folder / f"machine-{self._number}"
            own.mkdir()
            environment = {"CORAL_DATA_DIR": str(own), "CORAL_THREADS": "1", "OMP_NUM_THREADS": "1"}
            self.workers.append(self.program.start_worker(queues, environment=environment))
        began = time.monotonic()
        try:
            # Seldom: every question is a process of PostgreSQL, on the cores that are measured.
            while not self.program.query(f"SELECT 1 FROM annotation_stage WHERE id = {stage} AND {ended}"):
                assert time.monotonic() < began + MOST_SECONDS, self.program.log
                time.sleep(0.5)
            return time.monotonic() - began
        finally:
            self._stop()

    def _stop(self) -> None:
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.wait(60)
        self.workers.clear()


def measure_features(program: Program, folder: Path, report: Report, *, quick: bool) -> None:
    """How much sooner two machines of one thread have all features than one."""
    rows = QUICK_FEATURE_ROWS if quick else FEATURE_ROWS
    _compare(
        Machines(program, folder / "features"),
        report,
        "features",
        rows,
        FILTER,
        "(detail->>'encoded')::boolean",
        "slm",
    )


def measure_local(program: Program, folder: Path, report: Report, *, quick: bool) -> None:
    """How much sooner two machines of one thread have labelled all rows with the embedded LLM than one."""
    rows = QUICK_LOCAL_ROWS if quick else LOCAL_ROWS
    _compare(
        Machines(program, folder / "local"),
        report,
        "local_llm",
        rows,
        LABEL,
        "status = 'done'",
        "llm,files,short",
    )


def _compare(machines: Any, report: Report, what: str, rows: int, make: str, ended: str, queues: str) -> None:
    machines.folder.mkdir()
    found: dict[int, float] = {}
    for count in (1, 2):
        code = (MAKE + make).format(name=f"{what}-{count}", rows=rows)
        found[count] = machines.seconds(queues, count, code, ended)
        report.row(part=what, machines=count, rows=rows, seconds=found[count], rate=rows / found[count])
    report.measure(f"{what}_speedup_2", found[1] / found[2], must=">= 1.8")
