"""What several workers on one PostgreSQL (with fsync) and one Redis do: speed, kills, fairness, budgets, clocks, size.

Workers are processes of this machine, each with a data folder of its own and one store of files; a scripted server plays the
language model. The parts:

- speedup: rows labelled by one worker and by four, at 16 calls at once each.
- kills: workers are killed at random, Redis and PostgreSQL restarted, while four workers label.
- fair: a labeling of 200 rows alone and beside a large one.
- budget: four workers under a budget of tokens.
- features, local: the features of texts, and rows labelled by the embedded LLM, by one worker of one thread and by two.
- clock: two workers, one of whose clocks is two minutes ahead.
- rate: bookkeeping of an instant model, in a database with a second project of two rounds.
- requests: what people ask for in that project.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.harness import Options, Report, in_process, run_bench
from tests.bench.scale_cluster import CALLS_OF_WORKER, Cluster, cluster
from tests.bench.scale_database import measure_database
from tests.bench.scale_models import measure_features, measure_local
from tests.support.services import PostgresServer, wait_for

PARTS = ("speedup", "kills", "fair", "budget", "clock", "features", "local", "rate", "requests")
WORKERS = 4
TOKENS = 43  # of a call to the scripted server
BATCH = 100  # rows that are stored at once
SKEW_SECONDS = 120

# A worker whose clock jumps ahead once it is at work.
SKEWED = """
import sys, threading, time
from datetime import timedelta
sys.argv = ["manage.py", "worker", "--queues", "llm,files,short"]
def jump():
    from django.utils import timezone
    real, clock = timezone.now, time.time
    timezone.now = lambda: real() + timedelta(seconds={skew})
    time.time = lambda: clock() + {skew}
threading.Timer(8, jump).start()
from coral_site.command import main
main()
"""


def measure(options: Options, report: Report) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coral_site.settings")
    parts = options.extra.parts
    on_machines = {
        "speedup": _speedup,
        "kills": _kills,
        "fair": _fair,
        "budget": _budget,
        "clock": _clock,
        "features": measure_features,
        "local": measure_local,
    }
    if chosen := [part for name, part in on_machines.items() if name in parts]:
        with cluster() as machines:
            for part in chosen:
                machines.llm.calls.clear()
                part(machines, report, quick=options.quick)
                machines.stop_workers()
    if {"rate", "requests"} & set(parts):
        folder = Path(tempfile.gettempdir())
        with PostgresServer(folder, fsync=True) as server, tempfile.TemporaryDirectory() as data:
            url = server.make_database("large")
            for row, measures in in_process(measure_database, Path(data), url, parts, options.quick):
                report.row(**row)
                for arguments, more in measures:
                    report.measure(*arguments, **more)


def _speedup(machines: Cluster, report: Report, *, quick: bool) -> None:
    rows, seconds = 8_000 if quick else 20_000, {}
    for count in (1, WORKERS):
        machines.start_workers(count)
        stage = machines.label(f"by-{count}", rows, calls=CALLS_OF_WORKER * WORKERS)
        seconds[count] = machines.wait_for_end(stage)
        report.row(
            part="speedup", workers=count, rows=rows, seconds=seconds[count], rate=rows / seconds[count]
        )
        machines.stop_workers()
    report.measure("llm_endpoint_speedup_4", seconds[1] / seconds[WORKERS], must=">= 3.4")


def _kills(machines: Cluster, report: Report, *, quick: bool) -> None:
    rows, kills = (4_000, 3) if quick else (20_000, 30)
    machines.start_workers(WORKERS)
    stage = machines.label("killed", rows, calls=32)
    chance, waits = random.Random(1), list[float]()
    held: dict[int, tuple[int, float]] = {}
    for number in range(kills):
        until = time.monotonic() + chance.uniform(3, 6)
        while time.monotonic() < until:
            _note_taken_over(machines, held, waits)
            time.sleep(0.5)
        worker = machines.workers.pop(chance.randrange(WORKERS))
        running = machines.program.query(
            "SELECT id, attempt, worker FROM annotation_stage WHERE status = 'running'"
        )
        worker.kill()
        worker.wait()
        for key, attempt, holder in running:
            if holder.endswith(f":{worker.pid}"):
                held[key] = (attempt, time.monotonic())
        machines.workers.append(machines.start_worker())
        if number == kills // 3:
            machines.redis.restart()
        if number == 2 * kills // 3:
            machines.postgres.restart()
    began = time.monotonic()
    while held and time.monotonic() < began + 90:
        _note_taken_over(machines, held, waits)
        time.sleep(0.5)
    machines.wait_for_end(stage)
    found = (
        "SELECT count(*), count(DISTINCT sample_id) FROM annotation_prediction answer JOIN annotation_stage stage "
        f"ON stage.iteration_id = answer.iteration_id WHERE answer.error = '' AND stage.id = {stage}"
    )
    answers, answered = machines.program.query(found)[0]
    twice = machines.asked_twice()
    report.row(
        part="kills", kills=kills, rows=rows, answers=answers, asked_twice=twice, taken_over=len(waits)
    )
    report.measure("asked_twice_per_kill", twice / kills, must=f"<= {BATCH}")
    report.measure("rows_lost", rows - answered, must="== 0")
    report.measure("rows_twice", answers - answered, must="== 0")
    report.measure(
        "resume_seconds", statistics.median(waits) if waits else float("nan"), unit="s", must="<= 45"
    )


def _note_taken_over(machines: Cluster, held: dict[int, tuple[int, float]], waits: list[float]) -> None:
    if not held:
        return
    keys = ", ".join(map(str, held))
    rows = machines.program.query(f"SELECT id, attempt FROM annotation_stage WHERE id IN ({keys})")
    now = dict(rows)
    for key, (attempt, killed) in list(held.items()):
        if now.get(key, attempt + 1) > attempt:  # one that is gone was done
            waits.append(time.monotonic() - killed)
            del held[key]


def _fair(machines: Cluster, report: Report, *, quick: bool) -> None:
    machines.start_workers(1, threads=8)
    alone = machines.wait_for_end(machines.label("alone", 200, calls=CALLS_OF_WORKER))
    large = machines.label("large", 4_000 if quick else 20_000, calls=CALLS_OF_WORKER)
    machines.program.wait_for_row(f"SELECT 1 FROM annotation_stage WHERE id = {large} AND done > 0")
    beside = machines.wait_for_end(machines.label("beside", 200, calls=CALLS_OF_WORKER))
    report.row(part="fair", rows=200, alone_s=alone, beside_s=beside)
    report.measure("small_job_wait", beside / alone, must="<= 2.0")


def _budget(machines: Cluster, report: Report, *, quick: bool) -> None:
    budget = TOKENS * (1_000 if quick else 3_000)
    machines.start_workers(WORKERS)
    machines.wait_for_end(machines.label("budget", 10_000, calls=64, budget=budget))
    machines.stop_workers()  # what is under way ends with them
    taken = TOKENS * len(machines.llm.calls)
    report.row(part="budget", budget=budget, taken=taken)
    report.measure("budget_exceeded", max(0, taken - budget), unit="tokens", must="== 0")
    report.measure("budget_used", taken / budget)


def _clock(machines: Cluster, report: Report, *, quick: bool) -> None:
    machines.start_workers(1)
    machines.workers.append(machines.program.start_python(SKEWED.format(skew=SKEW_SECONDS)))
    wait_for(lambda: machines.program.log.count("At work on") >= 2, seconds=200, what="workers start")
    stage = machines.label("clock", 4_000 if quick else 8_000, calls=32)
    machines.wait_for_end(stage)
    status = f"SELECT count(*) FROM annotation_stage WHERE id = {stage} AND (status <> 'done' OR crashes > 0)"
    failed, twice = machines.program.query(status)[0][0], machines.asked_twice()
    report.row(part="clock", skew_s=SKEW_SECONDS, failed=failed, asked_twice=twice)
    report.measure("skewed_clock_failures", failed + twice, must="== 0")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)


if __name__ == "__main__":
    sys.exit(run_bench("scale", __doc__, measure, add_arguments=add_arguments))
