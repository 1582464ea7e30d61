"""Relabel all that a filter matches among 1,000,000 rows, take it back, and export it, while a person corrects rows.

The whole program runs as ``manage.py up`` starts it, on SQLite and on PostgreSQL, on the corpus of ``tests.bench.table``
with a word of the small model on every row. The person opens a page somewhere in the file and corrects a row of it
every second.
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.bench.harness import Options, Report, in_process, run_bench
from tests.bench.load import Found, Person
from tests.bench.table import Corpus, build
from tests.support.program import Program
from tests.support.services import PostgresServer

ROWS, QUICK_ROWS = 1_000_000, 20_000
PACE_SECONDS = 1.0
TOKEN = "a" * 32  # against forged requests: the same in the cookie and in the header

WORDS = (
    "INSERT INTO annotation_prediction (sample_id, iteration_id, source, label_id, raw, error, origin, verdict_id, risk, "
    "flag) SELECT id, %s, 'slm', slm_label_id, '', '', '', label_id, risk, flag FROM annotation_sample"
)
DAMAGED = (
    "SELECT COUNT(*) FROM annotation_sample s JOIN annotation_prediction p ON p.sample_id = s.id "
    "WHERE s.source <> 'person' AND (s.label_id <> p.verdict_id OR s.risk <> p.risk OR s.corrected_by_id IS NOT NULL)"
)
STAGES = "SELECT status, done FROM annotation_stage WHERE kind = '{kind}' ORDER BY id DESC LIMIT 1"


def measure(options: Options, report: Report) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coral_site.settings")
    rows = QUICK_ROWS if options.quick else options.extra.rows
    lost = locked = damaged = 0
    for database in options.extra.databases.split(","):
        with _program(database, rows) as (program, corpus):
            trial = _Trial(program, corpus, report, database)
            trial.run(options.extra.query, rows)
            lost += trial.found.lost(program)
            locked += program.log.count("database is locked")
            damaged += program.query(DAMAGED)[0][0]
        slow = sorted(trial.found.times["correction"])
        report.row(
            database=database,
            what="a person's corrections",
            rows=len(trial.found.accepted),
            median_ms=slow[len(slow) // 2] * 1000,
            slowest_ms=slow[-1] * 1000,
            overtaken=trial.found.conflicts,
            failures=trial.found.failures,
        )
        report.measure(f"{database}_correction_p95_ms", slow[int(len(slow) * 0.95)] * 1000, must="< 400")
        report.measure(f"{database}_failures", trial.found.failures, must="== 0")
    report.measure("corrections_lost", lost, must="== 0")
    report.measure("locked_errors", locked, must="== 0")
    report.measure("rows_not_given_back", damaged, must="== 0")


@contextmanager
def _program(database: str, rows: int) -> Iterator[tuple[Program, Corpus]]:
    with tempfile.TemporaryDirectory(prefix="coral-bulk-") as folder, ExitStack() as servers:
        url = ""
        if database == "postgres":
            url = servers.enter_context(PostgresServer(Path(folder))).make_database("bulk")
        corpus = in_process(_build, Path(folder, "data"), url, rows)
        with Program(Path(folder), DATABASE_URL=url, CORAL_LEASE_SECONDS="30") as program:
            program.start()
            yield program, corpus


def _build(folder: Path, url: str, rows: int) -> Corpus:
    corpus = build(folder, url, rows)
    from django.db import connection

    from annotation.models import Iteration

    with connection.cursor() as cursor:
        cursor.execute(WORDS, [Iteration.objects.get().pk])
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM ANALYZE")
    return corpus


@dataclass(slots=True)
class _Trial:
    """One database: what is asked of the program, and what it answers."""

    program: Program
    corpus: Corpus
    report: Report
    database: str
    found: Found = field(default_factory=Found)

    def run(self, query: str, rows: int) -> None:
        self._look()
        pages = [f"?sort=position&row={1 + place * rows // 60}" for place in range(60)]
        made = {"project": self.corpus.project, "labels": self.corpus.labels, "keys": [self.corpus.session]}
        person = Person(
            self.program.address, made, 0, self.found, pace=PACE_SECONDS, pages=pages, name="olga"
        )
        over = threading.Event()
        worker = threading.Thread(target=person.work, args=(over.is_set,))
        worker.start()
        try:
            self._relabel_and_take_back(query)
        finally:
            over.set()
            worker.join()
        for kind in ("csv", "xlsx"):
            self._export(kind, query)

    def _relabel_and_take_back(self, query: str) -> None:
        form = {"matching": "1", "query": f"?{query}", "label": str(self.corpus.labels[1])}
        seconds, html = self._ask("GET", f"review/bulk/?{urlencode(form)}")
        told = re.search(r"Correct ([\d,]+) rows", html)
        self._row("the number is told", seconds, rows=told[1] if told else "none")
        seconds, _html = self._ask("POST", "review/bulk/", form)
        self._row("it is started", seconds)
        self._wait("bulk", "it is done")
        self._look()
        batch = self.program.query("SELECT MAX(id) FROM annotation_correctionbatch")[0][0]
        seconds, _html = self._ask("POST", f"review/bulk/{batch}/undo/", {})
        self._row("taking it back is started", seconds)
        self._wait("bulk", "it is undone")
        self._look()

    def _export(self, kind: str, query: str) -> None:
        seconds, _html = self._ask("POST", "export/start/", {"format": kind, "query": query})
        self._row(f"an export as {kind} is started", seconds)
        self._wait("export", f"the export as {kind} is done")

    def _look(self) -> None:
        """The first page of the review."""
        self._row("the first page", self._ask("GET", "review/")[0])

    def _wait(self, kind: str, what: str) -> None:
        began = time.perf_counter()
        first = 0.0
        while True:
            [(status, done)] = self.program.query(STAGES.format(kind=kind))
            first = first or (time.perf_counter() - began if done else 0.0)
            if status not in ("queued", "running"):
                break
            time.sleep(0.2)
        assert status == "done", self.program.log[-3000:]
        memory = {f"{name}_mb": _peak_mb(pid) for name, pid in self.program.children().items()}
        self._row(what, time.perf_counter() - began, rows=done, first_after=first, **memory)

    def _row(self, what: str, seconds: float, **more: Any) -> None:
        self.report.row(database=self.database, what=what, seconds=seconds, **more)

    def _ask(self, method: str, path: str, form: dict[str, str] | None = None) -> tuple[float, str]:
        parts = urlsplit(self.program.address)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=300)
        headers = {
            "Cookie": f"coral_{parts.port}_session={self.corpus.session}; coral_{parts.port}_csrf={TOKEN}"
        }
        if form is not None:
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "X-CSRFToken": TOKEN}
        body = None if form is None else urlencode(form)
        began = time.perf_counter()
        connection.request(method, f"/projects/{self.corpus.project}/{path}", body=body, headers=headers)
        answer = connection.getresponse()
        html = answer.read().decode()
        assert answer.status in (200, 302), (path, answer.status, html[:300])
        return time.perf_counter() - began, html


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--databases", default="sqlite,postgres", metavar="NAMES")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--query", default="", help="the filter, as an address has it (all rows)")


if __name__ == "__main__":
    sys.exit(run_bench("bulk", __doc__, measure, add_arguments=_add_arguments))
