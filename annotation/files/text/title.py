"""Which row names the columns, where a title stands above the table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from annotation.files.excel.reader import read_excel
from annotation.files.records import Limits, Notes, Reading, SourceRow
from annotation.files.text.csv_file import read_csv

_LOOK_ROWS = 50
_LOOK_CHARACTERS = 300  # of a cell
_MAX_TITLE_ROWS = 19
_LONGEST_NAME = 60
_STOP = re.compile(r"[，。！？；…]|[,.!?;]\s|[!?]$|\w{3}\.$")
_NUMBER = re.compile(r"[-+]?[\d.,]+%?")


def is_like_title(columns: Sequence[str]) -> bool:
    """Whether no more than one of the columns has a name of its own."""
    return sum(name != f"column {place}" for place, name in enumerate(columns, start=1)) <= 1


def is_like_text(name: str) -> bool:
    """Whether a column's name reads like a sentence, as where a file of one text a line has no row of names."""
    return len(name) > _LONGEST_NAME or _STOP.search(name) is not None


def below_title(path: Path, reading: Reading, limits: Limits) -> Reading:
    """``reading`` with the row that names the columns, where the file begins with a title or a remark.

    That is so if the first filled row has a single cell and most of the others have more; the names are then in the first
    row that is as wide as most and looks like names. Otherwise ``reading`` is as it was.
    """
    if reading.format not in ("csv", "xlsx") or not (reading.format == "xlsx" or reading.delimiter):
        return reading
    read = read_excel if reading.format == "xlsx" else read_csv
    records = islice(read(path, reading, limits, Notes()), _LOOK_ROWS)
    rows = [
        [cell[:_LOOK_CHARACTERS] for cell in row.cells]
        for row in records
        if isinstance(row, SourceRow) and any(map(str.strip, row.cells))
    ]
    if len(rows) < 2 or _filled(rows[0]) != 1:
        return reading
    usual, _times = Counter(map(_filled, rows[1:])).most_common(1)[0]
    if usual < 2:
        return reading
    for number, cells in enumerate(rows[1 : _MAX_TITLE_ROWS + 1], start=2):
        if _filled(cells) >= usual and _are_names(cells):
            return replace(reading, header=number)
    return reading


def _filled(cells: Sequence[str]) -> int:
    return sum(bool(cell.strip()) for cell in cells)


def _are_names(cells: Sequence[str]) -> bool:
    """Whether a row may name columns: no name twice, and none a number."""
    names = [cell.strip() for cell in cells if cell.strip()]
    return len(set(names)) == len(names) and not any(map(_NUMBER.fullmatch, names))
