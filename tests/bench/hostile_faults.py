"""Processes that die while a run and people are at work, and a backup taken meanwhile."""

from __future__ import annotations

import json
import random
import tempfile
import threading
import time
from pathlib import Path

from tests.bench.harness import Options, Report
from tests.bench.load import CALLS_AT_ONCE, SET_UP, Found, Person
from tests.support.fake_llm import Call, Step, fake_llm, says
from tests.support.program import Program

ROWS, QUICK_ROWS = 4_000, 1_000
KILLS, QUICK_KILLS = 30, 4
SECONDS_BETWEEN = (2.0, 6.0)
PEOPLE, PACE_SECONDS = 3, 0.5
ANSWER_SECONDS = 0.5
LEASE_SECONDS = "30"  # as delivered
DONE = "SELECT done, status FROM annotation_stage WHERE kind = 'llm'"
TWICE = "SELECT COUNT(*) FROM (SELECT 1 FROM annotation_prediction GROUP BY sample_id, iteration_id, source HAVING COUNT(*) > 1)"
LABELLED = "SELECT COUNT(*) FROM annotation_prediction WHERE source = 'llm' AND label_id IS NOT NULL"


def measure(options: Options, report: Report) -> None:
    rows, kills = (QUICK_ROWS, QUICK_KILLS) if options.quick else (ROWS, KILLS)
    with (
        tempfile.TemporaryDirectory(prefix="coral-faults-") as folder,
        Program(Path(folder), CORAL_LEASE_SECONDS=LEASE_SECONDS) as program,
        fake_llm(_answer) as llm,
    ):
        program.start()
        made = json.loads(
            program.execute(
                SET_UP.format(rows=rows, url=f"{llm.url}/v1", calls=CALLS_AT_ONCE, people=PEOPLE)
            ).splitlines()[-1]
        )
        program.wait_for_row("SELECT 1 FROM annotation_stage WHERE kind = 'llm' AND done > 0")
        beside = _backup_seconds(program, Path(folder))
        found, over = Found(), threading.Event()
        people = [
            threading.Thread(
                target=Person(program.address, made, number, found, pace=PACE_SECONDS).work,
                args=(over.is_set,),
            )
            for number in range(PEOPLE)
        ]
        for person in people:
            person.start()
        slowest = _kill(program, kills, report)
        over.set()
        for person in people:
            person.join()
        program.wait_for_row(
            "SELECT 1 FROM annotation_stage WHERE kind = 'llm' AND status = 'done'", seconds=300
        )
        quiet = _backup_seconds(program, Path(folder))
        report.row(backup_quiet_s=quiet, backup_beside_a_run_s=beside)
        report.measure("backup_seconds_ratio", beside / quiet, must="<= 2")
        labelled, twice = program.query(LABELLED)[0][0], program.query(TWICE)[0][0]
        lost = found.lost(program) + (rows - labelled) + twice
        report.row(
            kills=kills,
            corrections=len(found.accepted),
            unanswered=found.failures,
            rows=rows,
            labelled=labelled,
            twice=twice,
            asked=len(llm.calls),
        )
    report.measure("kills_lost", lost, must="== 0")
    report.measure("run_resumes_seconds", slowest, unit="s", must="<= 60")


def _answer(_number: int, _call: Call) -> Step:
    return Step(body=says("positive").body, delay=ANSWER_SECONDS)


def _backup_seconds(program: Program, folder: Path) -> float:
    began = time.perf_counter()
    done = program.run("backup", str(folder / "backup.tar"))
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - began


def _kill(program: Program, kills: int, report: Report) -> float:
    """Kill children of the supervisor at random; the most seconds from the last of some kills until the run went on."""
    chance, slowest = random.Random(0), 0.0
    for number in range(kills):
        name = chance.choice(["web", "llm", "llm", "broker", "slm"])
        if name not in program.children():
            continue  # it is being started again
        before = program.query(DONE)[0][0]
        program.kill(name)
        killed = time.monotonic()
        time.sleep(chance.uniform(*SECONDS_BETWEEN))
        if number % 5 == 4:  # let it get up from time to time, and see how long that takes
            while program.query(DONE)[0] == (before, "running") and time.monotonic() < killed + 180:
                time.sleep(0.5)
            slowest = max(slowest, time.monotonic() - killed)
            report.row(kill=number + 1, of=name, goes_on_after_s=time.monotonic() - killed)
    return slowest
