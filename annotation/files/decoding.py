"""Files that a library decodes as it likes, read in a child process with a ceiling on its memory.

A few bytes of such a file may stand for gigabytes. What the child takes it gives back when it ends, and if it takes too much
it ends alone: pages and workers go on. The child gets its task as a line of JSON and answers with lines of JSON.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from annotation.errors import InvalidFileError
from annotation.files.parquet_file import open_parquet
from annotation.files.records import Limits, Notes, Reading, RejectedRow, SourceRow, Table
from annotation.files.sheets_file import open_sheets
from annotation.messages import message
from mlcore.messages import Message

#: What a child may take beyond what Python and its libraries take.
MEMORY = 800 * 2**20
_TOO_MUCH = message(
    "Reading the file takes more than %(most)s MB of memory, so it was stopped. Save it in another format.",
    most=MEMORY // 2**20,
)
_BATCH_ROWS, _BATCH_CHARACTERS = 500, 2_000_000
_OPENERS = {"parquet": open_parquet, "sheets": open_sheets}
# Arrow's own allocators reserve address space that they never use.
_ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}


def open_decoded(
    path: Path,
    reading: Reading,
    limits: Limits,
    notes: Notes,
    *,
    text_columns: Collection[str] = (),
    scan_rows: int | None = None,
) -> Table:
    """Opens a file in a child process, which ends with the last row or when nobody wants more.

    Raises:
        InvalidFileError: the file can't be read, or not within the memory; also later, from ``rows``.
    """
    child = _Child(
        {
            "path": str(path),
            "reading": reading.as_dict(),
            "limits": asdict(limits),
            "text_columns": list(text_columns),
            "scan_rows": scan_rows,
            "memory": MEMORY,
        },
        notes,
    )
    opened = child.answer()
    return Table(
        tuple(opened["columns"]), child.rows(), notes, tuple(opened["inner"]), opened["schema"], child.close
    )


class _Child:
    def __init__(self, task: dict[str, Any], notes: Notes) -> None:
        self._notes = notes
        self._process = subprocess.Popen(
            [sys.executable, "-m", "annotation.files.decoding"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **_ENVIRONMENT},
            cwd=Path(__file__).parents[2],
        )
        assert self._process.stdin
        self._process.stdin.write(json.dumps(task).encode())
        self._process.stdin.close()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            self.close()
            raise InvalidFileError(_TOO_MUCH)
        answer: dict[str, Any] = json.loads(line)
        self._notes.counts.update(answer.get("notes", {}))
        self._notes.bytes_read, self._notes.bytes_total = answer.get("bytes", (0, 0))
        if error := answer.get("error"):
            self.close()
            raise InvalidFileError(Message.of(error))
        return answer

    def rows(self) -> Iterator[SourceRow | RejectedRow]:
        try:
            while rows := self.answer()["rows"]:
                for line, cells, types in rows:
                    yield (
                        SourceRow(line, cells, types)
                        if types is not None
                        else RejectedRow(line, Message.of(cells))
                    )
        finally:
            self.close()

    def close(self) -> None:
        """End the process, whatever it is at."""
        assert self._process.stdout
        self._process.kill()
        self._process.stdout.close()
        self._process.wait()

    def __del__(self) -> None:
        self.close()


def main() -> None:
    """Read the task from standard input, and write the table to standard output."""
    task = json.load(sys.stdin)
    _limit_memory(task["memory"])
    reading, limits, notes = Reading.from_dict(task["reading"]), Limits(**task["limits"]), Notes()
    try:
        table = _OPENERS[reading.format](
            Path(task["path"]),
            reading,
            limits,
            notes,
            text_columns=task["text_columns"],
            scan_rows=task["scan_rows"],
        )
        _say(notes, columns=table.columns, inner=table.inner, schema=table.schema)
        while rows := list(_batch(table.rows)):
            _say(notes, rows=rows)
        _say(notes, rows=[])
    except InvalidFileError as error:
        _say(notes, error=error.message.as_json())
    except MemoryError:
        _say(notes, error=_TOO_MUCH.as_json())


def _batch(rows: Iterator[SourceRow | RejectedRow]) -> Iterator[tuple[int, Any, str | None]]:
    size = 0
    for row in islice(rows, _BATCH_ROWS):
        if isinstance(row, RejectedRow):
            yield row.line, row.reason.as_json(), None
            continue
        yield row
        size += sum(map(len, row.cells))
        if size > _BATCH_CHARACTERS:
            return


def _say(notes: Notes, **answer: Any) -> None:
    answer |= {"notes": notes.counts, "bytes": (notes.bytes_read, notes.bytes_total)}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    notes.counts.clear()


def _limit_memory(most: int) -> None:
    """Let this process take so much more address space than it has now. Where the system doesn't tell, there is no ceiling."""
    import python_calamine  # noqa: F401 - loaded before, so that they do not count

    statm = Path("/proc/self/statm")
    if statm.exists():
        taken = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + most, taken + most))


if __name__ == "__main__":
    main()
