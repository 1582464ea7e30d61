"""JSON Lines and a JSON array of objects as a table of text.

Numbers keep the characters that they are written with, ``null`` and a missing key are an empty cell, a list or an
object becomes its JSON text (or a rejected row, where the column is to be read by a model).
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import Any, NamedTuple

from annotation.errors import InvalidFileError
from annotation.files.header import name_columns
from annotation.files.records import Limits, Notes, Reading, RejectedRow, SourceRow, Table
from annotation.files.text.csv_file import first_bad_byte, replace_bad
from annotation.files.text.streams import open_text
from annotation.messages import message
from mlcore.errors import MessageError
from mlcore.messages import Message

_CHUNK = 1 << 16
_SPACE = " \t\r\n"
_TOO_DEEP = message("lists or objects are nested too deeply")
#: What Python's decoder says; a test holds it against the decoder.
DECODER_FAULTS = (
    message("Expecting value"),
    message("Expecting ',' delimiter"),
    message("Expecting ':' delimiter"),
    message("Expecting property name enclosed in double quotes"),
    message("Illegal trailing comma before end of object"),
    message("Illegal trailing comma before end of array"),
    message("Unterminated string starting"),
    message("Invalid control character"),
    message("Invalid \\escape"),
    message("Invalid \\uXXXX escape"),
    message("Extra data"),
)


class _Item(NamedTuple):
    line: int
    value: Any
    text: str


class _ConstantError(MessageError):
    """NaN or Infinity, which JSON does not know."""


def open_json(
    path: Path,
    reading: Reading,
    limits: Limits,
    notes: Notes,
    *,
    text_columns: Collection[str] = (),
    scan_rows: int | None = None,
) -> Table:
    """Opens the file; a first pass (over ``scan_rows`` rows, or all) finds the columns, in order of appearance."""
    keys = _find_keys(path, reading, limits, scan_rows)
    columns = name_columns(keys, limits, notes)
    plain = {key for key, column in zip(keys, columns, strict=True) if column in text_columns}
    return Table(columns, _rows(path, reading, limits, notes, keys, plain), notes)


def _find_keys(path: Path, reading: Reading, limits: Limits, scan_rows: int | None) -> list[str]:
    keys: dict[str, None] = {}
    seen = 0
    for item in _items(path, reading, limits, Notes()):
        if isinstance(item, RejectedRow):
            continue
        seen += 1
        if isinstance(item.value, dict):
            keys.update(dict.fromkeys(item.value))
        if seen == scan_rows or len(keys) > limits.columns:
            break
    if keys:
        return list(keys)
    if not seen:
        raise InvalidFileError("The file is empty.")
    raise InvalidFileError("No row of the file is a JSON object with columns.")


def _rows(
    path: Path, reading: Reading, limits: Limits, notes: Notes, keys: Sequence[str], plain: Collection[str]
) -> Iterator[SourceRow | RejectedRow]:
    for item in _items(path, reading, limits, notes):
        if isinstance(item, RejectedRow):
            yield item
        elif not isinstance(item.value, dict):
            yield RejectedRow(
                item.line,
                message("the row is %(kind)s, not an object with columns", kind=_kind(item.value)),
            )
        else:
            yield _row_of(item, limits, notes, keys, plain, reading.replace_bad)


def _row_of(
    item: _Item,
    limits: Limits,
    notes: Notes,
    keys: Sequence[str],
    plain: Collection[str],
    replace: bool,
) -> SourceRow | RejectedRow:
    cells: list[str] = []
    for key in keys:
        value = item.value.get(key)
        if isinstance(value, dict | list):
            if key in plain:
                return RejectedRow(
                    item.line,
                    message("the cell %(key)s is %(kind)s, not a text", key=f"{key!r}", kind=_kind(value)),
                )
            notes.notice("lists and objects kept as JSON text")
            # Read again, for numbers stand as text in ``value``.
            value = json.dumps(json.loads(item.text, parse_int=_whole)[key], ensure_ascii=False)
        cell = "" if value is None else value if isinstance(value, str) else str(value).lower()
        if "\0" in cell:
            notes.notice("NUL characters replaced", cell.count("\0"))
            cell = cell.replace("\0", "\ufffd")
        if len(cell) > limits.cell_characters:
            return RejectedRow(item.line, too_long(len(cell), limits))
        if not cell.isascii() and first_bad_byte(cell):
            if replace:
                cells.append(replace_bad(cell, notes))
                continue
            return RejectedRow(
                item.line,
                message(
                    "the cell %(key)s holds half of a surrogate pair or a byte that does not fit",
                    key=f"{key!r}",
                ),
            )
        cells.append(cell)
    return SourceRow(item.line, cells)


def _whole(digits: str) -> int | str:
    """The number, or its digits where Python refuses to read so many."""
    return int(digits) if len(digits) <= sys.int_info.default_max_str_digits else digits


def too_long(characters: int, limits: Limits) -> Message:
    return message(
        "a cell has %(characters)s characters; at most %(most)s are allowed (CORAL_MAX_CELL_CHARACTERS)",
        characters=characters,
        most=limits.cell_characters,
    )


def _kind(value: Any) -> Message:
    if isinstance(value, dict):
        return message("an object")
    return message("a list") if isinstance(value, list) else message("a single value")


def _items(path: Path, reading: Reading, limits: Limits, notes: Notes) -> Iterator[_Item | RejectedRow]:
    decoder = _decoder(notes)
    with open_text(path, reading, limits, notes) as stream:
        yield from (_lines if reading.format == "jsonl" else _array)(stream, decoder, limits, notes)


def _decoder(notes: Notes) -> JSONDecoder:
    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            notes.notice("keys given twice in a row; the last counts", len(pairs) - len(found))
        return found

    def refuse(constant: str) -> Any:
        raise _ConstantError(message("%(constant)s is not a JSON value", constant=constant))

    return JSONDecoder(object_pairs_hook=collect, parse_float=str, parse_int=str, parse_constant=refuse)


def _lines(
    stream: io.TextIOBase, decoder: JSONDecoder, limits: Limits, notes: Notes
) -> Iterator[_Item | RejectedRow]:
    allowed, number = limits.row_characters, 0
    while line := stream.readline(allowed):
        number += 1
        if len(line) >= allowed:
            size = len(line) + _skip_line(stream, allowed)
            yield RejectedRow(
                number,
                message(
                    "the row has %(size)s characters; at most %(allowed)s are allowed",
                    size=size,
                    allowed=allowed,
                ),
            )
        elif text := line.strip():
            yield _read(decoder.decode, text, number)
        else:
            notes.notice("blank rows left out")


def _skip_line(stream: io.TextIOBase, allowed: int) -> int:
    size = 0
    while piece := stream.readline(allowed):
        size += len(piece)
        if piece.endswith(("\n", "\r")):
            break
    return size


def fault_of(error: JSONDecodeError) -> Message:
    return Message(error.msg.removesuffix(" at"))


def _read(decode: Callable[[str], Any], text: str, line: int) -> _Item | RejectedRow:
    try:
        return _Item(line, decode(text), text)
    except JSONDecodeError as error:
        return RejectedRow(
            line,
            message("not valid JSON: %(msg)s at character %(pos)s", msg=fault_of(error), pos=error.pos + 1),
        )
    except _ConstantError as error:
        return RejectedRow(line, error.message)
    except RecursionError:
        return RejectedRow(line, _TOO_DEEP)


class _Buffer:
    """A window on a stream of JSON text."""

    def __init__(self, stream: io.TextIOBase) -> None:
        self._stream, self.text, self.place, self.line = stream, "", 0, 1

    def more(self) -> bool:
        """Reads on, at least doubling what is kept; false at the end of the file."""
        block = self._stream.read(max(_CHUNK, len(self.text) - self.place))
        self.text, self.place = self.text[self.place :] + block, 0
        return bool(block)

    def advance(self, end: int) -> None:
        self.line += self.text.count("\n", self.place, end)
        self.place = end

    def skip(self, characters: str) -> str:
        """Passes over these characters and returns the next one, or nothing at the end."""
        while True:
            end = self.place
            while end < len(self.text) and self.text[end] in characters:
                end += 1
            self.advance(end)
            if end < len(self.text):
                return self.text[end]
            if not self.more():
                return ""


def _array(
    stream: io.TextIOBase, decoder: JSONDecoder, limits: Limits, notes: Notes
) -> Iterator[_Item | RejectedRow]:
    buffer = _Buffer(stream)
    if buffer.skip(_SPACE) != "[":
        raise InvalidFileError("The file does not begin with a JSON array.")
    buffer.advance(buffer.place + 1)
    while (char := buffer.skip(_SPACE + ",")) != "]":
        if not char:
            raise InvalidFileError(
                "The JSON array is cut off at line %(line)s: its ']' is missing.",
                line=buffer.line,
            )
        yield _next_item(buffer, decoder, limits)


def _next_item(buffer: _Buffer, decoder: JSONDecoder, limits: Limits) -> _Item:
    while True:
        try:
            value, end = decoder.raw_decode(buffer.text, buffer.place)
            if end < len(buffer.text) or not buffer.more():
                break
        except JSONDecodeError as error:
            if len(buffer.text) - buffer.place > limits.row_characters or not buffer.more():
                raise InvalidFileError(
                    "The JSON array is damaged in the row that begins at line %(line)s: %(msg)s.",
                    line=buffer.line,
                    msg=fault_of(error),
                ) from None
        except (_ConstantError, RecursionError) as error:
            why = error.message if isinstance(error, _ConstantError) else _TOO_DEEP
            raise InvalidFileError(
                "The row at line %(line)s can't be read: %(why)s.", line=buffer.line, why=why
            ) from None
    item = _Item(buffer.line, value, buffer.text[buffer.place : end])
    buffer.advance(end)
    return item
