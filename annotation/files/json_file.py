"""JSON Lines and JSON arrays as a table of text.

Numbers keep the characters that they are written with, ``null``, NaN and a missing key are an empty cell, a list or an
object becomes its JSON text (or a rejected row, where the column is to be read by a model).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from annotation.errors import InvalidFileError
from annotation.files.cells import INNER, MISSING, cell_of, inner_names, inner_value, kind_of
from annotation.files.header import name_columns
from annotation.files.json_items import Item, json_items
from annotation.files.records import Limits, Notes, Reading, RejectedRow, SourceRow, Table, letters
from annotation.files.text.csv_file import first_bad_byte, replace_bad
from annotation.messages import message
from mlcore.messages import Message

_MAX_INNER = 100


def open_json(
    path: Path,
    reading: Reading,
    limits: Limits,
    notes: Notes,
    *,
    text_columns: Collection[str] = (),
    scan_rows: int | None = None,
) -> Table:
    """Opens the file; a first pass (over ``scan_rows`` rows, or all) finds the columns, in order of appearance.

    With ``scan_rows`` the fields within lists and objects are columns as well, else those that ``reading`` names.
    """
    keys, inner, shape = _find_keys(path, reading, limits, scan_rows)
    if scan_rows is None:
        inner = [name for name in reading.inner if name not in keys]
    columns = name_columns([*keys, *inner], limits, notes)
    rows = _Rows(limits, notes, keys, inner, set(text_columns).intersection(columns), reading.replace_bad)
    items = json_items(path, reading, limits, notes)
    return Table(columns, rows.of(items, shape), notes, columns[len(keys) :])


def _find_keys(
    path: Path, reading: Reading, limits: Limits, scan_rows: int | None
) -> tuple[list[str], list[str], type]:
    """The columns, the fields within their values, and what a row is: an object, else a list, else a text."""
    keys: dict[type, dict[str, None]] = {dict: {}, list: {}, str: {}}
    inner: dict[str, None] = {}
    seen = 0
    for item in json_items(path, reading, limits, Notes()):
        if isinstance(item, RejectedRow):
            continue
        seen += 1
        for shape, names in keys.items():
            names.update(dict.fromkeys(_as_object(item.value, shape) or ()))
        if scan_rows is not None and isinstance(item.value, dict):
            for name, value in item.value.items():
                inner.update(dict.fromkeys(inner_names(value, name)))
        if seen == scan_rows or len(keys[dict]) > limits.columns:
            break
    for shape, names in keys.items():
        if names:
            # More fields than a file may have columns are no help to anybody.
            room = max(0, min(_MAX_INNER, limits.columns - len(names)))
            return list(names), [name for name in inner if name not in names][:room], shape
    if not seen:
        raise InvalidFileError("The file is empty.")
    raise InvalidFileError("No row of the file is a JSON object with columns.")


def _as_object(value: Any, shape: type) -> Mapping[str, Any] | None:
    """A row as an object with columns, if it has the shape of the file's rows."""
    if type(value) is not shape:
        return None
    if isinstance(value, list):
        return {f"column {place}": part for place, part in enumerate(value, start=1)}
    return value if isinstance(value, dict) else {"text": value}


class _Rows:
    """Rows of text out of JSON values."""

    def __init__(
        self,
        limits: Limits,
        notes: Notes,
        keys: Sequence[str],
        inner: Sequence[str],
        plain: Collection[str],
        replace: bool,
    ) -> None:
        self._limits, self._notes, self._plain, self._replace = limits, notes, plain, replace
        self._keys, self._inner = keys, inner

    def of(self, items: Iterator[Item | RejectedRow], shape: type) -> Iterator[SourceRow | RejectedRow]:
        for item in items:
            if isinstance(item, RejectedRow):
                yield item
            elif (row := _as_object(item.value, shape)) is None:
                yield RejectedRow(
                    item.line,
                    message("the row is %(kind)s, not an object with columns", kind=kind_of(item.value)),
                )
            else:
                yield self._row(item.line, row)

    def _row(self, line: int, row: Mapping[str, Any]) -> SourceRow | RejectedRow:
        cells: list[str] = []
        types: list[str] = []
        for key in self._keys:
            value = row.get(key)
            if isinstance(value, dict | list):
                self._notes.notice("lists and objects kept as JSON text")
            types.append(cell_of(value)[1] if key in row else MISSING)
            if fault := self._add(cells, key, value):
                return RejectedRow(line, fault)
        for path in self._inner:
            types.append(INNER)
            if fault := self._add(cells, path, inner_value(row, path)):
                return RejectedRow(line, fault)
        return SourceRow(line, cells, letters(types))

    def _add(self, cells: list[str], key: str, value: Any) -> Message | None:
        """Add a value's text; what is wrong with it comes back."""
        if isinstance(value, dict | list) and key in self._plain:
            return message("the cell %(key)s is %(kind)s, not a text", key=f"{key!r}", kind=kind_of(value))
        cell = cell_of(value)[0]
        if "\0" in cell:
            self._notes.notice("NUL characters replaced", cell.count("\0"))
            cell = cell.replace("\0", "\ufffd")
        if len(cell) > self._limits.cell_characters:
            return too_long(len(cell), self._limits)
        if not cell.isascii() and first_bad_byte(cell):
            if not self._replace:
                return message(
                    "the cell %(key)s holds half of a surrogate pair or a byte that does not fit",
                    key=f"{key!r}",
                )
            cell = replace_bad(cell, self._notes)
        cells.append(cell)
        return None


def too_long(characters: int, limits: Limits) -> Message:
    return message(
        "a cell has %(characters)s characters; at most %(most)s are allowed (CORAL_MAX_CELL_CHARACTERS)",
        characters=characters,
        most=limits.cell_characters,
    )
