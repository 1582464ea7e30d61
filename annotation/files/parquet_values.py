"""Values of Parquet as cells: their texts, and lists and records as JSON."""

from __future__ import annotations

import base64
import json
import re
from typing import Any, NamedTuple

from annotation.files.cells import kind_of
from annotation.files.records import Notes
from annotation.messages import message
from mlcore.messages import Message

# A whole second is written without its fraction, however fine the column's clock is.
_OUT_OF_RANGE = re.compile(r"<value out of range: (-?\d+)>\Z")


_EMPTY_FRACTION = re.compile(r"(:\d\d)\.0+(?=\D|$)")


class CellValue(NamedTuple):
    """A cell that is no plain text: what it is, its JSON text, and the list or record itself."""

    kind: Message
    text: str
    value: Any = None


_NO_TEXT = message("bytes that are not UTF-8 text")


ParquetCell = str | CellValue | None


def texts_of(column: Any, notes: Notes) -> list[ParquetCell]:
    import pyarrow as pa

    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_nested(column.type):
        return [_nested_text(value) for value in column]
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        texts: list[ParquetCell] = column.cast(pa.string()).to_pylist()
    except (pa.ArrowException, UnicodeDecodeError):
        return [_single_text(value) for value in column]
    if pa.types.is_temporal(column.type):
        # Arrow writes "<value out of range: 7>" for what no calendar holds.
        texts = [text and _OUT_OF_RANGE.sub(r"\1", str(text)) for text in texts]
        return [text and _EMPTY_FRACTION.sub(r"\1", str(text)).replace(" ", "T") for text in texts]
    return texts


def _single_text(value: Any) -> ParquetCell:
    """A value that has no text of its own by Arrow's rules: bytes, of which most are texts after all."""
    try:
        found = python_value(value)
    except UnicodeDecodeError:
        return CellValue(_NO_TEXT, "")
    if not isinstance(found, bytes):
        return None if found is None else str(found)
    try:
        return found.decode()
    except UnicodeDecodeError:
        return CellValue(_NO_TEXT, base64.b64encode(found).decode())


def _nested_text(value: Any) -> ParquetCell:
    try:
        found = python_value(value)
    except UnicodeDecodeError:
        return CellValue(_NO_TEXT, "")
    return None if found is None else nested_cell(found)


def nested_cell(found: Any) -> CellValue:
    return CellValue(kind_of(found), json.dumps(found, ensure_ascii=False, default=_plain_json), found)


def inner_cell(value: Any) -> ParquetCell:
    if isinstance(value, dict | list):
        return nested_cell(value)
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else _plain_json(value)


def python_value(value: Any) -> Any:
    """Arrow's value as one of Python. What Python has no value for, such as a date beyond 9999, stays a number."""
    import pyarrow as pa

    try:
        return value.as_py()
    except UnicodeDecodeError:
        raise
    except (OverflowError, ValueError, pa.ArrowException):
        if isinstance(value, pa.StructScalar):
            return {name: python_value(part) for name, part in value.items()}
        if isinstance(value, pa.ListScalar):  # maps among them
            return [python_value(part) for part in value.values]
        return getattr(value, "value", None)


def _plain_json(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
