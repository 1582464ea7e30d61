"""Writers of CSV, JSON Lines and Excel that never write a formula and never lose a character unseen."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

from annotation.files.cells import LEFT_OUT, TypedText
from annotation.files.records import Reading

#: CORAL's own columns, in the order in which every export has them.
RESULT_COLUMNS = (
    "final_label",
    "source",
    "llm_label",
    "slm_label",
    "confidence",
    "clean_probability",
    "risk",
    "flag",
    "corrected_by",
    "corrected_at",
    "round",
    "unclear",
    "note",
)
#: Those of them that are numbers, where a file knows types.
NUMBERS: Mapping[str, type[int] | type[float]] = {
    "confidence": float,
    "clean_probability": float,
    "risk": float,
    "round": int,
}
PREFIX = "coral_"

# What a spreadsheet takes for a formula when it opens a CSV file; the wide forms count in some Asian versions.
# Where lists are parted by semicolons, it parts a cell there, too, and one with tabs at those.
_FORMULA = r"(?:[=+\-@\t\r\n＝＋－＠]|(?s:.)*[;\t][ '\"]?[=+\-@＝＋－＠])"
# The apostrophes are read once: otherwise a cell of many would be read from each of them.
_DANGEROUS, _GUARDED = re.compile(f"'*+{_FORMULA}"), re.compile(f"'++{_FORMULA}")
_PLAIN_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\Z")


def result_columns(columns: Sequence[str]) -> list[str]:
    """The names of CORAL's columns beside these uploaded ones: one that is taken gets a prefix."""
    taken = {column.casefold() for column in columns}
    names = []
    for name in RESULT_COLUMNS:
        while name in taken:
            name = PREFIX + name
        names.append(name)
        taken.add(name)
    return names


def guard(cell: str) -> str:
    """An apostrophe before what a spreadsheet would run as a formula; plain numbers such as ``-1.5`` stay."""
    if not _DANGEROUS.match(cell) or _PLAIN_NUMBER.match(cell):
        return cell
    return f"'{cell}"


def unguard(cell: str) -> str:
    """Takes :func:`guard`'s apostrophe off again; exact for every text."""
    return cell[1:] if _GUARDED.match(cell) else cell


def is_guarded(text: str, reading: Reading) -> bool:
    """Whether a CSV file is CORAL's own export: its header ends in CORAL's columns."""
    if reading.delimiter != ",":
        return False
    try:
        header = next(csv.reader(io.StringIO(text, newline="")), [])
    except csv.Error:
        return False
    count = len(RESULT_COLUMNS)
    return len(header) > count and header[-count:] == result_columns(
        [unguard(name) for name in header[:-count]]
    )


def write_csv_rows(file: IO[str], header: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """Rows as CSV with guarded cells. ``file`` must be open with ``newline=""``; use ``utf-8-sig`` for Excel."""
    writer = csv.writer(file)
    writer.writerow([guard(name) for name in header])
    count = 0
    for row in rows:
        writer.writerow([guard(cell) if isinstance(cell, str) else cell for cell in row])
        count += 1
    return count


def write_json_rows(file: IO[str], header: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """Rows as JSON Lines, one object a row; typed cells as the values that they were, missing ones left out."""
    names = [json.dumps(name, ensure_ascii=False) for name in header]
    count = 0
    for row in rows:
        pairs = (
            f"{name}: {cell.as_json() if isinstance(cell, TypedText) else json.dumps(cell, ensure_ascii=False)}"
            for name, cell in zip(names, row, strict=True)
            if not (isinstance(cell, TypedText) and cell.type in LEFT_OUT)
        )
        file.write(f"{{{', '.join(pairs)}}}\n")
        count += 1
    return count
