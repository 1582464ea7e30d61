"""Import and export against the bare libraries: rows per second, memory, and what a large project costs.

Every run has a process and a database (SQLite, as by default) of its own. "Raw" is Python's csv module and executemany
into an equal table with equal indexes, the same cells, hashes and JSON, in transactions of 1,000 rows; "bare" is
XlsxWriter in constant_memory mode with the same cells, already in memory.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.harness import Options, Report, in_process, open_program, run_bench

if TYPE_CHECKING:
    from annotation.models import Project

WORDS = 20
BATCH = 1_000
TRIES = 9


def measure(options: Options, report: Report) -> None:
    asked = (2_000, 5_000, 10_000) if options.quick else (10_000, 100_000, 1_000_000)
    sizes = [size for size in asked if size <= options.extra.most_rows]
    stored, exported = (5_000, 5_000) if options.quick else (min(500_000, sizes[-1]), 100_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        imports = {rows: _measure_import(folder, rows, report) for rows in sizes}
        append = in_process(_append, folder / "append", stored)
        export = in_process(_export, folder / "export", exported)
    report.row(
        what=f"1,000 rows into a project of {stored:,}", seconds=append["large"], beside=append["empty"]
    )
    report.row(what="the same, mean", seconds=append["large_mean"], beside=append["empty_mean"])
    for kind, result in export.items():
        report.row(what=f"{kind}, {exported:,} rows", **result)
    smallest, largest = imports[sizes[0]], imports[sizes[-1]]
    report.measure("import_rate_ratio", min(each["ratio"] for each in imports.values()), must=">= 0.33")
    report.measure("import_memory_growth", largest["peak_mb"] / smallest["peak_mb"], must="<= 1.2")
    report.measure(
        "import_extra_mb", max(each["extra_mb"] for each in imports.values()), unit="MB", must="< 200"
    )
    report.measure("append_ratio", append["large"] / append["empty"], must="<= 1.5")
    report.measure(
        "excel_time_ratio", export["export xlsx"]["seconds"] / export["bare xlsx"]["seconds"], must="<= 1.5"
    )


def _measure_import(folder: Path, rows: int, report: Report) -> dict[str, float]:
    path = folder / f"{rows}.csv"
    _write_corpus(path, rows)
    ours = in_process(_import, folder / f"ours{rows}", path)
    raw = in_process(_raw, folder / f"ours{rows}", path)
    path.unlink()
    found = {
        "rows_per_second": rows / ours["seconds"],
        "raw_rows_per_second": rows / raw["seconds"],
        "ratio": raw["seconds"] / ours["seconds"],
        "peak_mb": ours["peak_mb"],
        "extra_mb": ours["peak_mb"] - ours["base_mb"],
        "raw_peak_mb": raw["peak_mb"],
    }
    report.row(what=f"import csv, {rows:,} rows", seconds=ours["seconds"], beside=raw["seconds"], **found)
    return found


def _write_corpus(path: Path, rows: int) -> None:
    chance = random.Random(0)
    words = [f"word{number}" for number in range(5_000)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "label"])
        for number in range(rows):
            writer.writerow([number, " ".join(chance.choices(words, k=WORDS)), ("good", "bad")[number % 2]])


# --- In the children ----------------------------------------------------------------------------------------------


def _new_project() -> Project:
    from django.contrib.auth.models import User

    from annotation.pipeline.project import configure

    owner, _ = User.objects.get_or_create(username="bench")
    return configure.create_project(name="bench", task_type="topic", owner=owner)


def _import_file(project: Project, path: Path) -> float:
    """Upload to last row, in seconds."""
    from django.core.files.base import File

    from annotation.jobs.work import work_on
    from annotation.models import Stage
    from annotation.pipeline.ingest import start_import
    from annotation.pipeline.ingest.column_roles import ColumnRoles
    from annotation.pipeline.ingest.upload import store_upload

    started = time.perf_counter()
    with path.open("rb") as file:
        upload = store_upload(project, File(file, name=path.name), None)
    stage = start_import.start_import(
        project, upload, ColumnRoles(["text"], reference_column="label"), user=None
    )
    with work_on(stage.pk) as job:
        assert job is not None
        start_import.run_import(job)
    seconds = time.perf_counter() - started
    stage.refresh_from_db()
    assert stage.status == Stage.Status.DONE, stage.error
    return seconds


def _import(folder: Path, path: Path) -> dict[str, float]:
    open_program(folder)
    warm = path.with_name("warm.csv")
    _write_corpus(warm, 100)
    _import_file(_new_project(), warm)  # what the first rows load counts as base
    project = _new_project()
    base = _memory_mb("VmRSS")
    return {"seconds": _import_file(project, path), "base_mb": base, "peak_mb": _peak_mb()}


def _raw(folder: Path, path: Path) -> dict[str, float]:
    """Parser and executemany into a table like ours, in a database file beside ours."""
    schema = sqlite3.connect(folder / "coral.sqlite3").execute(
        "SELECT sql FROM sqlite_master WHERE tbl_name = 'annotation_sample' AND sql IS NOT NULL ORDER BY type DESC"
    )
    raw = folder / "raw.sqlite3"
    database = sqlite3.connect(raw)
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "cache_size=-65536"):
        database.execute(f"PRAGMA {pragma}")
    for (statement,) in schema.fetchall():
        database.execute(statement)
    started = time.perf_counter()
    for batch in _raw_batches(path):
        with database:
            database.executemany(
                "INSERT INTO annotation_sample (project_id, position, external_id, text, fields, content_hash, source, flag, "
                "round, version) VALUES (1, ?, '', ?, ?, ?, '', '', 0, 0)",
                batch,
            )
    seconds = time.perf_counter() - started
    database.close()
    raw.unlink()
    return {"seconds": seconds, "peak_mb": _peak_mb()}


def _raw_batches(path: Path) -> Iterator[list[tuple[int, str, str, str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        next(reader)
        batch: list[tuple[int, str, str, str]] = []
        for position, cells in enumerate(reader):
            digest = hashlib.sha1(cells[1].encode(), usedforsecurity=False).hexdigest()
            batch.append((position, cells[1], json.dumps(cells), digest))
            if len(batch) == BATCH:
                yield batch
                batch = []
        yield batch


def _append(folder: Path, stored: int) -> dict[str, float]:
    """Imports of 1,000 rows each, in turns into an empty project and into a large one: the median of either, and the mean.

    Now and then an import finds SQLite's log full and moves it into the database: that is in the mean only.
    """
    open_program(folder)
    corpus = folder / "corpus.csv"
    _write_corpus(corpus, stored)
    large = _new_project()
    _import_file(large, corpus)
    seconds: dict[str, list[float]] = {"empty": [], "large": []}
    for number in range(TRIES):
        more = folder / f"more{number}.csv"
        with more.open("w", encoding="utf-8") as file:
            file.write(
                "id,text,label\n" + "".join(f"{row},try {number} row {row},good\n" for row in range(1_000))
            )
        seconds["empty"].append(_import_file(_new_project(), more))
        seconds["large"].append(_import_file(large, more))
    return {name: statistics.median(tries) for name, tries in seconds.items()} | {
        f"{name}_mean": statistics.mean(tries) for name, tries in seconds.items()
    }


def _export(folder: Path, rows: int) -> dict[str, dict[str, float]]:
    open_program(folder)
    from annotation.pipeline.export import rows as export_rows
    from annotation.pipeline.export import run_export

    corpus = folder / "corpus.csv"
    _write_corpus(corpus, rows)
    project = _new_project()
    _import_file(project, corpus)
    _label_rows(project)
    base = _memory_mb("VmRSS")
    results = {}
    for kind in ("csv", "jsonl", "parquet", "xlsx"):
        seconds = _timed(partial(run_export.WRITERS[kind], project, folder / f"out.{kind}"))
        results[f"export {kind}"] = {"seconds": seconds, "extra_mb": _peak_mb() - base}
    cells: list[list[Any]] = [
        list(export_rows.export_header(project)),
        *export_rows.export_rows(project),
    ]
    results["bare xlsx"] = {"seconds": _timed(partial(_bare_excel, folder / "bare.xlsx", cells))}
    results["import xlsx"] = {"seconds": _reimport(folder / "out.xlsx")}
    return results


def _reimport(path: Path) -> float:
    from django.core.files.base import File

    from annotation.jobs.work import work_on
    from annotation.pipeline.ingest import start_import
    from annotation.pipeline.ingest.column_roles import ColumnRoles
    from annotation.pipeline.ingest.upload import store_upload

    project = _new_project()
    started = time.perf_counter()
    with path.open("rb") as file:
        upload = store_upload(project, File(file, name=path.name), None)
    stage = start_import.start_import(project, upload, ColumnRoles(["text"]), user=None)
    with work_on(stage.pk) as job:
        assert job is not None
        start_import.run_import(job)
    return time.perf_counter() - started


def _label_rows(project: Project) -> None:
    """As after a round: every cell of ours is filled."""
    from annotation.models import Flag, Label, Source

    label = Label.objects.create(project=project, name="good")
    project.samples.update(
        label=label, llm_label=label, slm_label=label, source=Source.SLM, confidence=0.912345, clean_prob=0.812345, risk=0.1,
        flag=Flag.RIGHT, round=2,
    )  # fmt: skip


def _bare_excel(path: Path, rows: list[list[Any]]) -> None:
    import xlsxwriter

    with xlsxwriter.Workbook(path, {"constant_memory": True}) as book:
        sheet = book.add_worksheet()
        for number, row in enumerate(rows):
            for column, cell in enumerate(row):
                if isinstance(cell, str):
                    sheet.write_string(number, column, cell)
                elif cell is not None:
                    sheet.write_number(number, column, cell)


def _timed(task: Callable[[], object]) -> float:
    started = time.perf_counter()
    task()
    return time.perf_counter() - started


def _peak_mb() -> float:
    """The most memory that this process has held so far."""
    return _memory_mb("VmHWM")


def _memory_mb(name: str) -> float:
    """What Linux tells of this process: VmRSS is held now, VmHWM is the most so far."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status tells no {name}; this benchmark needs Linux.")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--most-rows", type=int, default=1_000_000, metavar="N", help="leave out larger corpora"
    )


if __name__ == "__main__":
    raise SystemExit(run_bench("io", __doc__, measure, add_arguments=_add_arguments))
