"""The parts of :mod:`tests.bench.scale` in which models of this machine work: features of texts, and an embedded LLM.

Workers of one thread, each with a data folder of its own, share a store of files.
"""

from __future__ import annotations

import time

from tests.bench.harness import Report
from tests.bench.scale_cluster import PROJECT, Cluster

FEATURE_ROWS, QUICK_FEATURE_ROWS = 20_000, 10_000  # in parts of 5,000
LOCAL_ROWS, QUICK_LOCAL_ROWS = 4_000, 2_000  # in parts of 1,000
MOST_SECONDS = 580
ONE_THREAD = {"CORAL_THREADS": "1", "OMP_NUM_THREADS": "1"}

# Texts of a dozen words, all different, since what is encoded once is encoded for all projects.
MAKE = (
    PROJECT
    + """
import random
from annotation.models import Prediction, Sample, Stage
from annotation.models.sample import LlmLabel
from annotation.pipeline.distill.start_distillation import start_filtering
slm = replace(project.distill_config, encoder="all-minilm-l6-v2", epochs=1, warmup_epochs=1)
configure.set_slm(project, config=slm, chain_stages=False)
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
)
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
# What is left of a stage goes back to the queue with its worker; the next measurement's workers would take it up.
CANCEL = """
from annotation.models import Stage
Stage.objects.active().update(status=Stage.Status.CANCELLED)
"""


def measure_features(machines: Cluster, report: Report, *, quick: bool) -> None:
    """How much sooner two machines of one thread have all features than one."""
    rows = QUICK_FEATURE_ROWS if quick else FEATURE_ROWS
    _compare(machines, report, "features", rows, FILTER, "(detail->>'encoded')::boolean", "slm")


def measure_local(machines: Cluster, report: Report, *, quick: bool) -> None:
    """How much sooner two machines of one thread have labelled all rows with the embedded LLM than one."""
    rows = QUICK_LOCAL_ROWS if quick else LOCAL_ROWS
    _compare(machines, report, "local_llm", rows, LABEL, "status = 'done'", "llm,files,short")


def _compare(
    machines: Cluster, report: Report, what: str, rows: int, start: str, ended: str, queues: str
) -> None:
    found: dict[int, float] = {}
    for count in (1, 2):
        stage = machines.begin((MAKE + start).format(name=f"{what}-{count}", rows=rows))
        found[count] = _seconds(machines, queues, count, f"id = {stage} AND {ended}")
        report.row(part=what, machines=count, rows=rows, seconds=found[count], rate=rows / found[count])
    report.measure(f"{what}_speedup_2", found[1] / found[2], must=">= 1.8")


def _seconds(machines: Cluster, queues: str, count: int, ended: str) -> float:
    """How long so many machines take until a stage is as ``ended`` says."""
    machines.workers += [machines.start_worker(queues, environment=ONE_THREAD) for _ in range(count)]
    began = time.monotonic()
    # Seldom: every question is a process of PostgreSQL, on the cores that are measured.
    while not machines.program.query(f"SELECT 1 FROM annotation_stage WHERE {ended}"):
        assert time.monotonic() < began + MOST_SECONDS, machines.program.log
        time.sleep(0.5)
    seconds = time.monotonic() - began
    machines.stop_workers()
    machines.program.execute(CANCEL)
    return seconds
