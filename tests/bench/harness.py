"""What every benchmark shares: its arguments, its table, and the JSON that it writes.

A benchmark is a module run as ``python -m tests.bench.<name>``:

    def measure(options: Options, report: Report) -> None: ...

    if __name__ == "__main__":
        run_bench("llm_quality", __doc__, measure)

``report.row(...)`` adds a line of the table, ``report.measure(...)`` one number with its bar.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import operator
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line. ``extra`` holds the benchmark's own arguments."""

    data: Path
    quick: bool
    json: Path | None
    extra: argparse.Namespace

    def corpus(self, name: str) -> Path:
        """The path of ``name`` in the data folder; ends the program with a sentence if it isn't there."""
        path = self.data / name
        if not path.exists():
            sys.exit(f"{path} does not exist. Give the folder with the corpora as --data DIR.")
        return path


@dataclass(frozen=True, slots=True)
class Measure:
    """One number with its bar; ``must`` is text such as ``>= 0.80``, or empty where nothing is asked."""

    name: str
    value: float
    unit: str = ""
    must: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the bar is reached; None if there is none."""
        if not self.must:
            return None
        sign, bar = self.must.split()
        return _COMPARE[sign](self.value, float(bar))

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "must": self.must,
            "holds": self.holds,
        }


@dataclass(slots=True)
class Report:
    """Collects a benchmark's rows and measures."""

    name: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    measures: list[Measure] = field(default_factory=list)

    def row(self, **columns: Any) -> None:
        """Adds one line of the table; says it at once, so that a long run shows that it is alive."""
        self.rows.append(columns)
        print("  " + "  ".join(f"{name}={_shown(value)}" for name, value in columns.items()), flush=True)

    def measure(self, name: str, value: float, *, unit: str = "", must: str = "") -> None:
        self.measures.append(Measure(name, float(value), unit, must))

    def as_dict(self, *, seconds: float) -> dict[str, Any]:
        return {
            "machine": describe_machine(),
            "command": shlex.join(["python", "-m", f"tests.bench.{self.name}", *sys.argv[1:]]),
            "date": time.strftime("%Y-%m-%d"),
            "seconds": round(seconds, 2),
            "measures": [measure.as_dict() for measure in self.measures],
            "rows": self.rows,
        }


def run_bench(
    name: str,
    description: str | None,
    measure: Callable[[Options, Report], None],
    *,
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
    argv: Sequence[str] | None = None,
) -> int:
    """Reads the arguments, measures, prints the tables and writes the JSON.

    Returns:
        0 if every bar that was measured holds, else 1 (a ``--quick`` run is too small to be judged: 0).
    """
    options = _read_options(name, description, add_arguments, argv)
    report = Report(name)
    started = time.perf_counter()
    measure(options, report)
    result = report.as_dict(seconds=time.perf_counter() - started)
    _print_result(result)
    if options.json:
        options.json.write_text(
            json.dumps(result, indent=2, ensure_ascii=False, default=float), encoding="utf-8"
        )
    missed = any(each.holds is False for each in report.measures)
    return 1 if missed and not options.quick else 0


@contextmanager
def own_process() -> Iterator[Callable[..., Any]]:
    """Something that calls functions in a fresh process, always the same one: neither memory nor caches of another run
    are in it, and Django is set up there for one database."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield lambda task, *arguments: pool.apply(task, arguments)


def in_process(task: Callable[..., Any], *arguments: Any) -> Any:
    """The task's result, from a fresh process."""
    with own_process() as call:
        return call(task, *arguments)


def open_program(folder: Path, database: str = "") -> None:
    """Set the program up in this process, with its data in the folder and its tables made; nothing leaves the process.

    Args:
        database: its address; empty for SQLite in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {
        "CORAL_DATA_DIR": str(folder),
        "DJANGO_SETTINGS_MODULE": "coral_site.settings",
        "CORAL_LOG_LEVEL": "CRITICAL",
        "DATABASE_URL": database,
    }
    import django
    from django.conf import settings
    from django.core.management import call_command

    django.setup()
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    call_command("migrate", verbosity=0)


def describe_machine() -> str:
    """Cores, memory and accelerator of this machine in words."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    python = f"Python {platform.python_version()}"
    return f"{cores} cores, {memory:.0f} GiB, {platform.machine()}, {_accelerator()}, {python}"


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as an aligned text table; columns in the order in which they first appear."""
    if not rows:
        return "(no rows)"
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, *([_shown(row.get(name, "")) for name in columns] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in text)


def _read_options(
    name: str,
    description: str | None,
    add_arguments: Callable[[argparse.ArgumentParser], None] | None,
    argv: Sequence[str] | None,
) -> Options:
    parser = argparse.ArgumentParser(
        prog=f"python -m tests.bench.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), metavar="DIR", help="the corpora"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a small run that proves that the benchmark works"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the result")
    if add_arguments:
        add_arguments(parser)
    extra = parser.parse_args(argv)
    return Options(data=extra.data, quick=extra.quick, json=extra.json, extra=extra)


def _print_result(result: Mapping[str, Any]) -> None:
    print(f"\n{result['command']}   ({result['date']}; {result['machine']}; {result['seconds']:.0f} s)\n")
    print(format_table(result["rows"]))
    if not result["measures"]:
        return
    words = {True: "yes", False: "NO", None: ""}
    print()
    print(format_table([{**measure, "holds": words[measure["holds"]]} for measure in result["measures"]]))


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _accelerator() -> str:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return "CPU only"
