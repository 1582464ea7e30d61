"""Column names out of a header row: trimmed, none empty, no two the same."""

from __future__ import annotations

from collections.abc import Sequence

from annotation.errors import InvalidFileError
from annotation.files.records import Limits, Notes

MAX_NAME = 200


def name_columns(cells: Sequence[str], limits: Limits, notes: Notes) -> tuple[str, ...]:
    """The columns' names: an empty one becomes ``column 3``, a second ``text`` becomes ``text (2)``."""
    if len(cells) > limits.columns:
        raise InvalidFileError(
            "The file has %(cells)s columns; at most %(columns)s are allowed (CORAL_MAX_COLUMNS).",
            cells=len(cells),
            columns=limits.columns,
        )
    names: list[str] = []
    for place, cell in enumerate(cells, start=1):
        name = "".join(char if char.isprintable() else " " for char in cell.replace("\ufeff", "")).strip()
        if len(name) > MAX_NAME:
            notes.notice("column names cut")
            name = name[:MAX_NAME]
        if not name:
            notes.notice("columns without a name")
            name = f"column {place}"
        if name in names:
            notes.notice("columns with the same name")
            name = _free_name(name, names)
        names.append(name)
    if len({name.casefold() for name in names}) < len(names):
        notes.notice("column names that differ in upper and lower case only")
    return tuple(names)


def _free_name(name: str, taken: Sequence[str]) -> str:
    number = 2
    while f"{name} ({number})" in taken:
        number += 1
    return f"{name} ({number})"
