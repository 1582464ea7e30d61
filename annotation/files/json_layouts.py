"""Tables that are one JSON object: pandas' layouts, a dictionary of lists, an object around the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from annotation.messages import message

ONE_OBJECT = message(
    "The file is one JSON object, not rows. Write one object a line (JSON Lines), or an array of objects."
)
_INDEX = "index"
# Where rows lie beside other things; under another name a list of objects is rather part of a row.
_ROWS = frozenset(("data", "rows", "items", "records", "results", "examples", "instances", "documents"))


def rows_within(value: Mapping[str, Any]) -> Iterator[Any] | None:
    """The rows of an object that is a whole table; None if it is none.

    Known are pandas' orients ``split``, ``table``, ``columns`` and ``index``, a list for each column, and an object in which
    a usual name, or the only one, has a list of objects. An index that is more than the rows' numbers is a column.
    """
    data, names = value.get("data"), value.get("columns")
    if isinstance(data, list) and isinstance(names, list) and all(isinstance(row, list) for row in data):
        index = value.get(_INDEX)
        keys = index if isinstance(index, list) and len(index) == len(data) else range(len(data))
        rows = [
            dict(zip(map(str, names), row, strict=True)) if len(row) == len(names) else row for row in data
        ]
        return _with_index(keys, rows)
    parts = list(value.values())
    tables: list[list[Any]] = [
        part for name, part in value.items() if _is_rows(part) and (name in _ROWS or len(parts) == 1)
    ]
    if len(tables) == 1:
        return iter(tables[0])
    if not parts or tables:
        return None
    if all(isinstance(part, list) for part in parts) and len(set(map(len, parts))) == 1 and parts[0]:
        return (dict(zip(value, row, strict=True)) for row in zip(*parts, strict=True))
    if not all(isinstance(part, dict) and part for part in parts):
        return None
    inner = dict.fromkeys(key for part in parts for key in part)
    if all(map(str.isdigit, inner)) or (not any(map(str.isdigit, value)) and len(inner) > len(value)):
        # Columns of cells by the index of their row.
        return _with_index(
            inner, [{name: part[at] for name, part in value.items() if at in part} for at in inner]
        )
    return _with_index(value, parts) if len(parts) > 1 else None


def _with_index(keys: Iterable[Any], rows: list[Any]) -> Iterator[Any]:
    named = list(map(str, keys))
    if named == list(map(str, range(len(rows)))):
        return iter(rows)
    return (
        {_INDEX: key, **row} if isinstance(row, dict) and _INDEX not in row else row
        for key, row in zip(named, rows, strict=True)
    )


def _is_rows(part: Any) -> bool:
    return isinstance(part, list) and bool(part) and all(isinstance(row, dict) for row in part)
