"""A value of JSON as a cell: its text, the letter of its type, and the fields within it.

The models read text, so a cell is text. Its type is kept beside it, so that an export gives back what came in.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from math import isfinite
from typing import Any

from mlcore.messages import Message

# One letter a cell; a row without any other than ``TEXT`` has no letters at all.
TEXT, INTEGER, FLOAT, NUMBER, BOOLEAN, NULL, MISSING, LIST, OBJECT = (
    "s",
    "i",
    "f",
    "n",
    "b",
    "0",
    "-",
    "l",
    "o",
)
DATE, MOMENT, CLOCK, INNER = "d", "t", "c", "x"
#: Not written where a row is an object: a key that it lacks, and a field that its own column holds.
LEFT_OUT = (MISSING, INNER)
#: Their text is that of the value in JSON.
JSON_TYPES = frozenset((INTEGER, FLOAT, NUMBER, BOOLEAN, LIST, OBJECT))

_INNER_DEPTH = 8
_INDEX = re.compile(r"\[(\d+)\]\.?")
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_ABSENT = object()
_EXCEL_DIGITS, _EXCEL_YEAR = 15, 1901
_NOT_FINITE = {
    "": "NaN",
    "nan": "NaN",
    "inf": "Infinity",
    "-inf": "-Infinity",
    "infinity": "Infinity",
    "-infinity": "-Infinity",
}


class Number(str):
    """A number of a JSON text as it is written; NaN and Infinity among them."""

    __slots__ = ()


def cell_of(value: Any) -> tuple[str, str]:
    """A value's text, and the letter of its type."""
    if value is None:
        return "", NULL
    if isinstance(value, Number):
        return ("" if value == "NaN" else str(value)), number_type(value)
    if isinstance(value, str):
        return value, TEXT
    if isinstance(value, bool):
        return str(value).lower(), BOOLEAN
    return json.dumps(plain_value(value), ensure_ascii=False), LIST if isinstance(value, list) else OBJECT


def number_type(text: str) -> str:
    """The letter for a number: one that 64 bits hold exactly, as a whole number or as a float, or another."""
    written = _JSON_NUMBER.fullmatch(text)
    if not written:
        return FLOAT if text in ("NaN", "Infinity", "-Infinity") else TEXT
    if not written[1] and not written[2]:
        return INTEGER if len(text) < 20 and -(2**63) <= int(text) < 2**63 else NUMBER
    return FLOAT if len(text) < 18 or Decimal(text) == Decimal(repr(float(text))) else NUMBER


def plain_value(value: Any) -> Any:
    """The value with its numbers as such; one of more digits than Python reads stays a text."""
    if isinstance(value, Number):
        if value.lstrip("-").isdigit():
            return int(value) if len(value) <= sys.int_info.default_max_str_digits else str(value)
        return float(value)
    if isinstance(value, dict):
        return {name: plain_value(part) for name, part in value.items()}
    return [plain_value(part) for part in value] if isinstance(value, list) else value


def inner_names(value: Any, name: str, depth: int = _INNER_DEPTH) -> Iterator[str]:
    """Names of the fields within a value, as ``data.text`` and ``messages[0].content``; of a list the first entry counts."""
    if not depth:
        return
    parts: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        parts = [(f"{name}.{key}", part) for key, part in value.items() if key]
    elif isinstance(value, list) and value and isinstance(value[0], dict | list):
        parts = [(f"{name}[0]", value[0])]
        parts += [(f"{name}[{at}]", part) for at, part in enumerate(value[1:3], start=1)]
    for path, part in parts:
        if not isinstance(part, dict) and not (isinstance(part, list) and part and isinstance(part[0], dict)):
            yield path
        yield from inner_names(part, path, depth - 1)


def inner_value(value: Any, path: str) -> Any:
    """What lies at a path of :func:`inner_names` in a value, or None. A key may itself hold points and brackets."""
    found = _at(value, path)
    return None if found is _ABSENT else found


def _at(value: Any, path: str) -> Any:
    if not path:
        return value
    if isinstance(value, list):
        index = _INDEX.match(path)
        if not index or int(index[1]) >= len(value):
            return _ABSENT
        return _at(value[int(index[1])], path[index.end() :])
    if not isinstance(value, dict):
        return _ABSENT
    ends = [end for end, char in enumerate(path) if char in ".[" and path[:end] in value]
    for end in [*([len(path)] if path in value else []), *reversed(ends)]:
        found = _at(value[path[:end]], path[end:].removeprefix("."))
        if found is not _ABSENT:
            return found
    return _ABSENT


def kind_of(value: Any) -> Message:
    if isinstance(value, dict):
        return Message("an object")
    return Message("a list") if isinstance(value, list) else Message("a single value")


class TypedText(str):
    """A cell's text with the letter of its type, on its way out."""

    __slots__ = ("type",)
    type: str

    @classmethod
    def of(cls, text: str, letter: str) -> TypedText:
        cell = cls(text)
        cell.type = letter
        return cell

    def as_json(self) -> str:
        """The value as it stands in a JSON text."""
        if self.type == NULL:
            return "null"
        if self.type == FLOAT and not self[-1:].isdigit():
            return _NOT_FINITE.get(self.lower(), json.dumps(str(self)))
        if self.type == FLOAT and self.lstrip("-").isdigit():
            return f"{self}.0"
        if self.type in JSON_TYPES:
            return str(self).lower() if self.type == BOOLEAN else str(self)
        return json.dumps(str(self), ensure_ascii=False)

    def as_excel(self) -> str | float | bool | date | None:
        """The value as a cell of a workbook; a number of more digits than Excel keeps stays a text."""
        if self.type == NULL or (self.type == FLOAT and not self[-1:].isdigit()):
            return None if self.type == NULL else str(self)
        if self.type == BOOLEAN:
            return self.lower() == "true"
        if self.type in (INTEGER, FLOAT):
            digits = sum(map(str.isdigit, self.lower().partition("e")[0].lstrip("-0.")))
            return float(self) if digits <= _EXCEL_DIGITS and isfinite(float(self)) else str(self)
        if self.type in (DATE, MOMENT):
            try:
                moment = datetime.fromisoformat(self)
            except ValueError:
                return str(self)  # beyond the calendar
            if moment.tzinfo is None and moment.year >= _EXCEL_YEAR:
                return moment.date() if self.type == DATE else moment
        return str(self)
