"""Parquet: values as text on the way in, batch by batch, so that a row group of any size fits the memory.

pyarrow is loaded where it is needed and not with the module: it takes 55 MB, and most processes never see such a file.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from annotation.errors import InvalidFileError
from annotation.files.cells import (
    inner_names,
)
from annotation.files.header import name_columns
from annotation.files.parquet_rows import ParquetRows, damaged
from annotation.files.parquet_values import python_value
from annotation.files.parquet_writer import schema_as_text
from annotation.files.records import (
    Limits,
    Notes,
    Reading,
    Table,
)

_PAGE_BYTES = 1 << 16
_NESTED = 50
_INNER_ROWS, _MAX_INNER = 20, 100
#: The values of one column of a group of rows, decoded.
MOST_BYTES = 400 * 2**20
# Encodings of texts that can be read as places in a dictionary; of others, such as DELTA_BYTE_ARRAY, only the texts can.
_PLAIN = {"PLAIN", "PLAIN_DICTIONARY", "RLE_DICTIONARY", "RLE", "BIT_PACKED"}


def open_parquet(
    path: Path,
    reading: Reading,
    limits: Limits,
    notes: Notes,
    *,
    text_columns: Collection[str] = (),
    scan_rows: int | None = None,
) -> Table:
    """Opens the file as a table of text.

    Whole numbers and decimals keep every digit, dates and times are ISO text, null is an empty cell, a list or a
    record becomes JSON text (or a rejected row, where the column is to be read by a model), the number of a label becomes
    its name where the file's description has one. With ``scan_rows`` the fields within lists and records are columns as
    well, else those that ``reading`` names.

    Raises:
        InvalidFileError: it is damaged, or tells of more rows, columns or bytes than are allowed.
    """
    file, described = _opened(path, limits)
    _check_size(file.metadata, limits)
    names = file.schema_arrow.names
    inner = [name for name in reading.inner if name not in names]
    if scan_rows is not None:
        inner = _inner_columns(file, room=limits.columns - len(names))
    columns = name_columns([*names, *inner], limits, notes)
    plain = [name in text_columns for name in columns]
    rows = ParquetRows(limits, notes, plain, inner, label_names(described))
    schema = schema_as_text(rows.written_schema(described))
    return Table(columns, rows.of(file, path.stat().st_size), notes, columns[len(names) :], schema)


def _check_size(described: Any, limits: Limits) -> None:
    if described.num_rows > limits.rows:
        raise InvalidFileError(
            "The file has %(rows)s rows; at most %(most)s are allowed (CORAL_MAX_ROWS).",
            rows=described.num_rows,
            most=limits.rows,
        )
    groups = [described.row_group(at) for at in range(described.num_row_groups)]
    # A list of equal numbers is a few bytes, so values count as what they take in memory.
    values = [group.column(at).num_values for group in groups for at in range(group.num_columns)]
    size = max(sum(group.total_byte_size for group in groups), 8 * sum(values))
    if size > limits.unpacked_bytes or 8 * max(values, default=0) > MOST_BYTES:
        raise InvalidFileError(
            "The file unpacks to more than %(most)s MB, the maximum.",
            most=min(limits.unpacked_bytes, MOST_BYTES) // 2**20,
        )


def _inner_columns(file: Any, *, room: int) -> list[str]:
    """Names of the fields within the first rows' lists and records."""
    import pyarrow as pa

    schema = file.schema_arrow
    nested = [name for name, kind in zip(schema.names, schema.types, strict=True) if pa.types.is_nested(kind)]
    found: dict[str, None] = {}
    if nested:
        batch = next(file.iter_batches(batch_size=_INNER_ROWS, columns=nested, use_threads=False), None)
        for column, name in zip(batch.columns if batch else (), nested, strict=False):
            for value in column:
                found.update(dict.fromkeys(inner_names(python_value(value), name)))
    return [name for name in found if name not in schema.names][: max(0, min(room, _MAX_INNER))]


def label_names(schema: Any) -> dict[str, list[str]]:
    """The names of the label numbers in each column, as Hugging Face's data sets describe their ClassLabel columns."""
    stored = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(stored)["info"]["features"]
        found = {column: _names_of(feature) for column, feature in features.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}  # described by another version, or not at all
    return {column: names for column, names in found.items() if names and column in schema.names}


def _names_of(feature: Any) -> list[str]:
    if isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
        return list(map(str, feature.get("names") or ()))
    return _names_of(feature["feature"]) if isinstance(feature, dict) and "feature" in feature else []


def _opened(path: Path, limits: Limits) -> tuple[Any, Any]:
    """The file, its texts read as places in a dictionary (one long text on a million rows is in memory once), and its schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    options = {
        "pre_buffer": False,
        "buffer_size": _PAGE_BYTES,
        "thrift_string_size_limit": 100_000_000,
        "thrift_container_size_limit": 1_000_000,
        "schema_depth_limit": _NESTED,
    }
    try:
        first = pq.ParquetFile(path, **options)
        schema = first.schema
        if len(schema) > limits.columns:
            raise InvalidFileError(
                "The file has %(columns)s columns; at most %(most)s are allowed (CORAL_MAX_COLUMNS).",
                columns=len(schema),
                most=limits.columns,
            )
        described = first.metadata
        groups = [described.row_group(each) for each in range(described.num_row_groups)]
        texts = [
            schema.column(at).path
            for at in range(len(schema))
            if schema.column(at).physical_type == "BYTE_ARRAY"
            and all(_PLAIN.issuperset(group.column(at).encodings) for group in groups)
        ]
        return pq.ParquetFile(path, read_dictionary=texts, **options), first.schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise damaged(error) from None
