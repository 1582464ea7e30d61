"""Files, floods and a database that can't be written, against the program's pages."""

from __future__ import annotations

import io
import re
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.harness import Options, Report
from tests.support.malformed import CASES
from tests.support.program import Program
from tests.support.visitor import Visitor

READ_SECONDS = 60.0  # until a file's first rows, or the reason why there are none, are on the page
QUOTES = 4_000_000
LOGIN_LOOPS, LOGIN_SECONDS, LOOKS = 40, 20.0, 15
CONNECTIONS, QUICK_CONNECTIONS = 5_200, 300
PAGES = (
    "/",
    "{}review/",
    "{}review/?sort=clean&size=100",
    "{}focus/",
    "{}labeling/",
    "{}filtering/",
    "{}rounds/",
    "{}accuracy/",
    "{}goal/",
    "{}certificate/",
    "{}export/",
    "{}members/",
    "{}members/activity/",
    "{}members/guidelines/",
    "{}configure/task/",
    "{}configure/data/",
    "{}configure/labels/",
    "{}configure/prompt/",
    "{}configure/models/",
    "{}configure/start/",
)

MAKE = """
from django.db import transaction
from tests.support.factories import make_project, make_user
from tests.support.pages import judge_rows
with transaction.atomic():
    project = make_project(rows={rows}, owner=make_user("anna"))
    judge_rows(project)
    for sample in project.samples.all() if {long} else ():
        sample.text = "<" * {long}
        sample.save()
print(project.pk)
"""


# --- Files ----------------------------------------------------------------------------------------------------------


def measure_files(options: Options, report: Report) -> None:
    """``web_peak_extra_mb`` and ``worst_file_seconds_per_mb``; files below 1 MB count as 1 MB."""
    with _program() as program:
        project = _project(program, rows=12)
        anna = Visitor.sign_in(program, "anna")
        for name in ("warm-up.csv", "warm-up.json"):  # libraries are loaded at the first file of a kind
            _read(
                anna,
                f"{project}configure/data/",
                name,
                b'[{"text": "a"}]' if "json" in name else b"id,text\n1,a\n",
            )
        peak = slowest = 0.0
        for name, data in _files(quick=options.quick):
            before = _memory_mb(program)
            _forget_peak(program)
            began = time.perf_counter()
            outcome = _read(anna, f"{project}configure/data/", name, data)
            seconds = (time.perf_counter() - began) / max(len(data) / 1e6, 1.0)
            extra = _memory_mb(program, "VmHWM") - before
            if extra > 20 or seconds > 0.5 or outcome != "read":
                report.row(
                    file=name, bytes=len(data), outcome=outcome, extra_mb=extra, seconds_per_mb=seconds
                )
            peak, slowest = max(peak, extra), max(slowest, seconds)
        report.measure("web_peak_extra_mb", peak, unit="MB", must="<= 200")
        report.measure("worst_file_seconds_per_mb", slowest, unit="s", must="<= 1")


def _files(*, quick: bool) -> Iterator[tuple[str, bytes]]:
    for case in CASES:
        yield re.sub(r"\W+", "-", case.name) + ".csv", case.make()
    yield "quotes.csv", b'"' * QUOTES
    yield "delimiters.csv", b"a,b\n" + b"b," * (QUOTES // 2)
    yield "one-line.json", b"[" * QUOTES
    yield "long-list.parquet", _long_list(10**6 if quick else 10**8)
    if not quick:
        yield "long-text.parquet", _long_text()


def _long_list(length: int) -> bytes:
    """A Parquet file of about a kilobyte whose one list has so many equal numbers."""
    lists = pa.array([range(1)] * 11, pa.list_(pa.int8()))
    long = pa.ListArray.from_arrays([0, length], pa.array(memoryview(bytes(length)), pa.int8()))
    return _parquet(
        pa.table(
            {
                "text": [f"row {n}" for n in range(12)],
                "list": pa.chunked_array([long, lists]).combine_chunks(),
            }
        )
    )


def _long_text() -> bytes:
    """A million rows that all have one text of 249,000 characters, which stands once in the file."""
    text = "".join(str(uuid.UUID(int=n)) for n in range(6_917))
    index = pa.array(memoryview(bytes(4 * 10**6)).cast("i"), pa.int32())
    return _parquet(pa.table({"text": pa.DictionaryArray.from_arrays(index, [text])}))


def _parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd", use_dictionary=True)
    return file.getvalue()


def _read(visitor: Visitor, data_page: str, name: str, data: bytes) -> str:
    """Upload a file, look at its first rows, and remove it: what came of it."""
    status, _body, where = visitor.upload(f"{data_page}upload/", name, data)
    if status != 302 or not re.search(r"/data/\d+/", where):
        return "refused" if status in (302, 400, 413) else f"status {status}"
    until = time.monotonic() + READ_SECONDS
    while True:
        status, body, _where = visitor.get(where)
        if status != 200 or b"data-reading" not in body or time.monotonic() > until:
            break
        time.sleep(0.2)
    visitor.post(f"{where}remove/")
    return "read" if status == 200 else f"status {status}"


def _memory_mb(program: Program, field: str = "VmRSS") -> float:
    """Of the process that serves the pages, in MB (10^6 bytes)."""
    status = Path(f"/proc/{program.children()['web']}/status").read_text()
    return float(status.partition(f"{field}:")[2].split()[0]) * 1024 / 1e6


def _forget_peak(program: Program) -> None:
    Path(f"/proc/{program.children()['web']}/clear_refs").write_text("5")


# --- Floods and locks -----------------------------------------------------------------------------------------------


def measure(options: Options, report: Report) -> None:
    with _program() as program:
        project = _project(program, rows=60)
        anna = Visitor.sign_in(program, "anna")
        share = _reads_while_locked(program, anna, project, report)
        report.measure("reads_while_readonly", share, must=">= 1.0")
        calm = _look(anna, f"{project}review/")
        with _logins(program.address):
            flooded = _look(anna, f"{project}review/")
        report.row(page="review", calm_ms=calm * 1000, beside_logins_ms=flooded * 1000)
        report.measure("login_flood_page_ratio", flooded / calm, must="<= 2")
        wanted = QUICK_CONNECTIONS if options.quick else CONNECTIONS
        survived = _idle_connections(program.address, anna, wanted)
        report.measure("idle_connections_survived", survived, must=">= 5000")
    with _program() as program:
        project = _project(program, rows=100, long=262_000)
        anna = Visitor.sign_in(program, "anna")
        sizes = {page: len(anna.get(page.format(project))[1]) for page in PAGES}
        report.row(largest=max(sizes, key=lambda page: sizes[page]), bytes=max(sizes.values()))
        report.measure("page_bytes_worst", max(sizes.values()), must="<= 1000000")


def _reads_while_locked(program: Program, visitor: Visitor, project: str, report: Report) -> float:
    """The share of the pages that answer 200 (the focus view may point elsewhere) while another process holds the lock."""
    database = program.folder / "data" / "coral.sqlite3"
    answered = 0
    with closing(sqlite3.connect(database, isolation_level=None, timeout=20)) as lock:
        for page in PAGES:
            lock.execute("BEGIN IMMEDIATE")
            began = time.perf_counter()
            status, _body, _where = visitor.get(page.format(project))
            seconds = time.perf_counter() - began
            lock.execute("ROLLBACK")
            answered += status == 200
            if status != 200 or seconds > 1:
                report.row(page=page, status=status, seconds=seconds)
    return answered / len(PAGES)


def _look(visitor: Visitor, page: str) -> float:
    """The median seconds of a page."""
    times = []
    for _look in range(LOOKS):
        began = time.perf_counter()
        status, _body, _where = visitor.get(page)
        times.append(time.perf_counter() - began)
        assert status == 200, status
        time.sleep(0.3)
    return statistics.median(times)


FLOOD = """
import sys, threading, time, uuid
from tests.support.visitor import Visitor
until = time.monotonic() + float(sys.argv[2])
def loop():
    stranger = Visitor(sys.argv[1], seconds=10)
    while time.monotonic() < until:
        stranger.post("/login/", username=uuid.uuid4().hex, password="wrong")
threads = [threading.Thread(target=loop) for _ in range(int(sys.argv[3]))]
for thread in threads: thread.start()
print("ready", flush=True)
for thread in threads: thread.join()
"""


@contextmanager
def _logins(address: str) -> Iterator[None]:
    """Loops that try names and passwords, in a process of their own."""
    command = [sys.executable, "-c", FLOOD, address, str(LOGIN_SECONDS), str(LOGIN_LOOPS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as flood:
        assert flood.stdout is not None
        flood.stdout.readline()
        time.sleep(1.0)
        yield
        flood.terminate()


def _idle_connections(address: str, visitor: Visitor, wanted: int) -> int:
    """How many half-sent requests were open when a page was still answered."""
    host, _colon, port = address.rpartition("/")[2].partition(":")
    opened: list[socket.socket] = []
    survived = 0
    try:
        while len(opened) < wanted:
            for _new in range(min(400, wanted - len(opened))):
                opened.append(socket.create_connection((host, int(port)), timeout=10))
                opened[-1].sendall(b"GET / HTTP/1.1\r\nHost: ")
            if visitor.get("/healthz")[0] != 200:
                break
            survived = len(opened)
    except OSError:
        pass  # the server, or this process, takes no more: what was open before counts
    finally:
        for each in opened:
            each.close()
    return survived


# --- The program ----------------------------------------------------------------------------------------------------


@contextmanager
def _program() -> Iterator[Program]:
    with tempfile.TemporaryDirectory(prefix="coral-hostile-") as folder, Program(Path(folder)) as program:
        program.start()
        yield program


def _project(program: Program, *, rows: int, long: int = 0) -> str:
    """The path of a project of Anna's, whose rows both models have judged."""
    made = program.execute(MAKE.format(rows=rows, long=long), seconds=120)
    return f"/projects/{made.splitlines()[-1]}/"
