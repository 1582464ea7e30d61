"""Parquet: values as text on the way in, batch by batch, so that a row group of any size fits the memory.

pyarrow is loaded where it is needed and not with the module: it takes 55 MB, and most processes never see such a file.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from annotation.errors import InvalidFileError
from annotation.files.header import name_columns
from annotation.files.json_file import too_long
from annotation.files.records import Limits, Notes, RejectedRow, SourceRow, Table, row_too_long
from annotation.messages import message
from mlcore.messages import Message

_BATCH_ROWS = 1_000
_PAGE_BYTES = 1 << 16
_NESTED = 50
# Encodings of texts that can be read as places in a dictionary; of others, such as DELTA_BYTE_ARRAY, only the texts can.
_PLAIN = {"PLAIN", "PLAIN_DICTIONARY", "RLE_DICTIONARY", "RLE", "BIT_PACKED"}
# A whole second is written without its fraction, however fine the column's clock is.
_OUT_OF_RANGE = re.compile(r"<value out of range: (-?\d+)>\Z")
_EMPTY_FRACTION = re.compile(r"(:\d\d)\.0+(?=\D|$)")


def check_parquet(path: Path, limits: Limits) -> None:
    """Reads the file's own description.

    Raises:
        InvalidFileError: it is damaged, or tells of more rows, columns or bytes than are allowed.
    """
    described = _opened(path, limits).metadata
    if described.num_rows > limits.rows:
        raise InvalidFileError(
            "The file has %(rows)s rows; at most %(most)s are allowed (CORAL_MAX_ROWS).",
            rows=described.num_rows,
            most=limits.rows,
        )
    unpacked = sum(described.row_group(each).total_byte_size for each in range(described.num_row_groups))
    if unpacked > limits.unpacked_bytes:
        raise InvalidFileError(
            "The file unpacks to more than %(most)s MB, the maximum.", most=limits.unpacked_bytes // 2**20
        )


def open_parquet(path: Path, limits: Limits, notes: Notes, *, text_columns: Collection[str] = ()) -> Table:
    """Opens the file as a table of text.

    Whole numbers and decimals keep every digit, dates and times are ISO text, null is an empty cell, a list or a
    record becomes JSON text (or a rejected row, where the column is to be read by a model).
    """
    check_parquet(path, limits)
    names = _opened(path, limits).schema_arrow.names
    columns = name_columns(names, limits, notes)
    plain = [name in text_columns for name in columns]
    return Table(columns, _rows(path, limits, notes, plain), notes)


def _opened(path: Path, limits: Limits) -> Any:
    """The file, its texts read as places in a dictionary: one long text on a million rows is in memory once."""
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
        return pq.ParquetFile(path, read_dictionary=texts, **options)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(error) from None


def _damaged(error: Exception) -> InvalidFileError:
    first_line = str(error).partition("\n")[0]
    return InvalidFileError(
        "The Parquet file is damaged or cut off (%(why)s). Upload it again.", why=first_line
    )


def _rows(
    path: Path, limits: Limits, notes: Notes, plain: Sequence[bool]
) -> Iterator[SourceRow | RejectedRow]:
    import pyarrow as pa

    file = _opened(path, limits)
    size, count, line = path.stat().st_size, max(1, file.metadata.num_rows), 0
    notes.bytes_total = size
    try:
        # One thread: it is bounded memory that counts here, and the database is slower anyway.
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
            # No character takes more than four bytes, so a row of more is too long.
            for piece in _fitting(batch, most=4 * limits.row_characters):
                if piece is None:
                    line += 1
                    yield RejectedRow(line, row_too_long(limits))
                    continue
                columns = [_texts_of(column, notes) for column in piece.columns]
                for cells in zip(*columns, strict=True):
                    line += 1
                    yield _row_of(line, cells, limits, notes, plain)
            notes.bytes_read = size * line // count
    except (pa.ArrowException, OSError) as error:
        raise _damaged(error) from None


def _fitting(batch: Any, *, most: int) -> Iterator[Any]:
    """The batch in pieces whose texts, written out, take no more than some megabytes; None for a row that takes more."""
    if sum(map(_written_bytes, batch.columns)) <= most:
        yield batch
    elif batch.num_rows < 2:
        yield None
    else:
        half = batch.num_rows // 2
        yield from _fitting(batch.slice(0, half), most=most)
        yield from _fitting(batch.slice(half), most=most)


def _written_bytes(column: Any) -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type) and not pa.types.is_nested(column.type.value_type):
        if not _is_bytes(column.type.value_type):
            return 0
        lengths = pc.take(pc.binary_length(column.dictionary), column.indices)
        return int(pc.sum(lengths).as_py() or 0)
    if pa.types.is_struct(column.type):
        return sum(map(_written_bytes, column.flatten()))
    if pa.types.is_map(column.type):
        return _written_bytes(column.keys) + _written_bytes(column.items)
    return _written_bytes(column.flatten()) if pa.types.is_nested(column.type) else int(column.nbytes)


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    return any(
        check(kind)
        for check in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_binary,
            pa.types.is_large_binary,
        )
    )


class _Value(NamedTuple):
    """A cell that is no plain text: what it is, and its JSON text."""

    kind: Message
    text: str


_NO_TEXT = message("bytes that are not UTF-8 text")


_Cell = str | _Value | None


def _texts_of(column: Any, notes: Notes) -> list[_Cell]:
    import pyarrow as pa

    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_nested(column.type):
        return [_nested_text(value) for value in column]
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        texts: list[_Cell] = column.cast(pa.string()).to_pylist()
    except (pa.ArrowException, UnicodeDecodeError):
        return [_single_text(value) for value in column]
    if pa.types.is_temporal(column.type):
        # Arrow writes "<value out of range: 7>" for what no calendar holds.
        texts = [text and _OUT_OF_RANGE.sub(r"\1", str(text)) for text in texts]
        return [text and _EMPTY_FRACTION.sub(r"\1", str(text)).replace(" ", "T") for text in texts]
    return texts


def _single_text(value: Any) -> _Cell:
    """A value that has no text of its own by Arrow's rules: bytes, of which most are texts after all."""
    try:
        found = _python_value(value)
    except UnicodeDecodeError:
        return _Value(_NO_TEXT, "")
    if not isinstance(found, bytes):
        return None if found is None else str(found)
    try:
        return found.decode()
    except UnicodeDecodeError:
        return _Value(_NO_TEXT, base64.b64encode(found).decode())


def _nested_text(value: Any) -> _Cell:
    try:
        found = _python_value(value)
    except UnicodeDecodeError:
        return _Value(_NO_TEXT, "")
    if found is None:
        return None
    kind = message("an object") if isinstance(found, dict) else message("a list")
    return _Value(kind, json.dumps(found, ensure_ascii=False, default=_plain_json))


def _python_value(value: Any) -> Any:
    """Arrow's value as one of Python. What Python has no value for, such as a date beyond 9999, stays a number."""
    import pyarrow as pa

    try:
        return value.as_py()
    except UnicodeDecodeError:
        raise
    except (OverflowError, ValueError, pa.ArrowException):
        if isinstance(value, pa.StructScalar):
            return {name: _python_value(part) for name, part in value.items()}
        if isinstance(value, pa.ListScalar):  # maps among them
            return [_python_value(part) for part in value.values]
        return getattr(value, "value", None)


def _plain_json(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _row_of(
    line: int, cells: Sequence[_Cell], limits: Limits, notes: Notes, plain: Sequence[bool]
) -> SourceRow | RejectedRow:
    texts = []
    for place, cell in enumerate(cells):
        if isinstance(cell, _Value):
            if plain[place] or not cell.text:
                return RejectedRow(
                    line,
                    message("cell %(place)s is %(kind)s, not a text", place=place + 1, kind=cell.kind),
                )
            notes.notice("lists, objects and bytes kept as JSON text")
        text = cell.text if isinstance(cell, _Value) else cell or ""
        if len(text) > limits.cell_characters:
            return RejectedRow(line, too_long(len(text), limits))
        if "\0" in text:
            notes.notice("NUL characters replaced", text.count("\0"))
            text = text.replace("\0", "\ufffd")
        texts.append(text)
    if sum(map(len, texts)) > limits.row_characters:
        return RejectedRow(line, row_too_long(limits))
    return SourceRow(line, texts)
