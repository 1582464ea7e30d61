"""Which row names the columns, where a title stands above the table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from annotation.files.first_row import first_rows
from annotation.files.records import WORKBOOKS, Limits, Reading

_LOOK_ROWS = 50
_MAX_TITLE_ROWS = 19
_NUMBER = re.compile(r"[-+]?[\d.,]+%?")


def is_like_title(columns: Sequence[str]) -> bool:
    """Whether no more than one of the columns has a name of its own."""
    return sum(name != f"column {place}" for place, name in enumerate(columns, start=1)) <= 1


def below_title(path: Path, reading: Reading, limits: Limits) -> Reading:
    """``reading`` with the row that names the columns, where the file begins with a title or a remark.

    That is so if the first filled row has a single cell and most of the others have more; the names are then in the first
    row that is as wide as most and looks like names. Otherwise ``reading`` is as it was.
    """
    if reading.format not in WORKBOOKS and not (reading.format == "csv" and reading.delimiter):
        return reading
    rows = first_rows(path, reading, limits, _LOOK_ROWS)
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
