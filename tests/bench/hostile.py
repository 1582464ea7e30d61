"""What an ill-meaning person, an unlucky file or a dying process does to the program.

Parts: ``rows`` (rows that try to steer the model, :mod:`tests.bench.hostile_rows`), ``files``, ``web``
(:mod:`tests.bench.hostile_web`) and ``faults`` (:mod:`tests.bench.hostile_faults`), each on a program of its own on loopback.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench import hostile_faults, hostile_rows, hostile_web
from tests.bench.harness import Options, Report, run_bench

PARTS: Mapping[str, Callable[[Options, Report], None]] = {
    "rows": hostile_rows.measure,
    "files": hostile_web.measure_files,
    "web": hostile_web.measure,
    "faults": hostile_faults.measure,
}


def measure(options: Options, report: Report) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coral_site.settings")
    for part in options.extra.parts:
        PARTS[part](options, report)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--embedded",
        type=Path,
        metavar="CACHE",
        help="ask the embedded model too about hostile rows, with its weights kept here",
    )


if __name__ == "__main__":
    sys.exit(run_bench("hostile", __doc__, measure, add_arguments=add_arguments))
