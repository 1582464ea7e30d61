"""Rows as a Parquet file, its columns of the types that the cells came with."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import time
from itertools import islice
from pathlib import Path
from typing import Any

from annotation.files.cells import (
    BOOLEAN,
    DATE,
    FLOAT,
    INNER,
    INTEGER,
    LEFT_OUT,
    LIST,
    MISSING,
    MOMENT,
    NULL,
    OBJECT,
    TEXT,
    TypedText,
)

_GROUP_ROWS = 10_000

Row = Sequence[Any]


def write_parquet_rows(
    path: Path,
    header: Sequence[str],
    numbers: Mapping[str, type[int] | type[float]],
    rows: Callable[[], Iterable[Row]],
    *,
    typed: bool = False,
    stored_schema: str = "",
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Writes rows to a file: the columns in ``numbers`` as such, typed cells as the values that they were, others as texts.

    Args:
        rows: begins anew each time; they are read once to learn the columns' types, and once more to be written.
        typed: whether any cell is typed.
        stored_schema: the types of the Parquet file that the cells came from, see :func:`schema_as_text`.
        metadata: what the new file's schema tells of it.

    Returns:
        The number of rows.
    """
    import pyarrow as pa

    kinds = {int: pa.int64(), float: pa.float64()}
    given = {name: kinds[kind] for name, kind in numbers.items()}
    learned = _learned_types(header, rows() if typed else ())
    before = schema_of_text(stored_schema)
    for column, kind in before.items():
        if column in learned and _fits(kind, learned[column]):
            learned[column] = kind
    told = dict(metadata or {})
    kept = [name for name in header if name in given or learned.get(name, pa.string()) is not None]
    exact = pa.schema([(name, given.get(name) or learned.get(name, pa.string())) for name in kept], told)
    plain = pa.schema([(name, given.get(name) or pa.string()) for name in kept], told)
    try:
        return _write(path, header, exact, rows())
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        # A value that its column's type can't hold; the texts hold all of them.
        return _write(path, header, plain, rows())


def schema_as_text(schema: Any) -> str:
    """The names and types of a file's columns, to be stored."""
    return base64.b64encode(schema.remove_metadata().serialize().to_pybytes()).decode()


def schema_of_text(text: str) -> dict[str, Any]:
    import pyarrow as pa

    if not text:
        return {}
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
    return dict(zip(schema.names, schema.types, strict=True))


def _write(path: Path, header: Sequence[str], schema: Any, rows: Iterable[Row]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    places = [header.index(name) for name in schema.names]
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _groups(rows):
            arrays = [
                _array([row[place] for row in group], field.type)
                for place, field in zip(places, schema, strict=True)
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            count += len(group)
    return count


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    left = iter(rows)
    while group := list(islice(left, _GROUP_ROWS)):
        yield group


def _array(cells: Sequence[Any], kind: Any) -> Any:
    import pyarrow as pa

    values = [None if _letter(cell) in (NULL, *LEFT_OUT) else cell for cell in cells]
    if not any(isinstance(value, str) for value in values):
        return pa.array(values, kind)
    if pa.types.is_nested(kind):
        return pa.array([None if value is None else json.loads(value) for value in values], kind)
    if pa.types.is_time(kind):  # Arrow itself reads none from a text
        return pa.array([None if value is None else time.fromisoformat(value) for value in values], kind)
    texts = pa.array([None if value is None else str(value) for value in values], pa.string())
    return texts if pa.types.is_string(kind) else texts.cast(kind)


def _letter(cell: Any) -> str:
    return cell.type if isinstance(cell, TypedText) else TEXT


def _learned_types(header: Sequence[str], rows: Iterable[Row]) -> dict[str, Any]:
    """The Arrow type of each column with typed cells, by all of them; None for one that is within another column."""
    import pyarrow as pa

    letters: dict[int, set[str]] = defaultdict(set)
    nested: dict[int, list[Any]] = defaultdict(list)
    for group in _groups(rows):
        parts: dict[int, list[Any]] = defaultdict(list)
        for row in group:
            for place, cell in enumerate(row):
                letter = _letter(cell)
                letters[place].add(letter)
                if letter in (LIST, OBJECT):
                    parts[place].append(json.loads(cell))
        for place, values in parts.items():
            nested[place].append(_inferred(values))
    types: dict[str, Any] = {}
    for place, seen in letters.items():
        seen -= {NULL, MISSING}
        if seen == {INNER}:
            types[header[place]] = None
        elif seen <= {LIST} or seen <= {OBJECT}:
            types[header[place]] = _unified(nested[place]) if seen else pa.null()
        elif TEXT not in seen:
            types[header[place]] = _simple_type(seen)
    return types


def _simple_type(letters: set[str]) -> Any:
    import pyarrow as pa

    simple = ({INTEGER}, pa.int64()), ({INTEGER, FLOAT}, pa.float64()), ({BOOLEAN}, pa.bool_())
    dated = ({DATE}, pa.date32()), ({MOMENT}, pa.timestamp("us"))
    return next((kind for known, kind in (*simple, *dated) if letters <= known), pa.string())


def _inferred(values: Sequence[Any]) -> Any:
    """The Arrow type of lists or objects; None if they have none in common."""
    import pyarrow as pa

    try:
        return pa.array(values).type
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return None


def _unified(kinds: Sequence[Any]) -> Any:
    import pyarrow as pa

    if None in kinds:
        return pa.string()
    try:
        schemas = [pa.schema([("x", kind)]) for kind in kinds]
        return pa.unify_schemas(schemas, promote_options="permissive").field("x").type
    except pa.ArrowException:
        return pa.string()


def _fits(kind: Any, learned: Any) -> bool:
    """Whether a column may have its first file's type again; what does not fit after all makes the whole file texts."""
    import pyarrow as pa

    if learned is None or pa.types.is_null(learned):
        return learned is not None
    return bool(pa.types.is_nested(kind) == pa.types.is_nested(learned))
