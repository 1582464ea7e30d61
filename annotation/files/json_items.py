"""The values of a JSON text, one after the other: lines, arrays, values over any number of lines, one object of rows."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import Any, NamedTuple

from annotation.errors import InvalidFileError
from annotation.files.cells import Number
from annotation.files.json_layouts import ONE_OBJECT, rows_within
from annotation.files.records import Limits, Notes, Reading, RejectedRow
from annotation.files.text.streams import open_text
from annotation.files.tools.flatten import flatten_record
from annotation.messages import message
from mlcore.messages import Message

_CHUNK = 1 << 16
_SPACE = " \t\r\n"
_MAX_OBJECT = 64 * 2**20
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


class Item(NamedTuple):
    line: int
    value: Any


def json_items(path: Path, reading: Reading, limits: Limits, notes: Notes) -> Iterator[Item | RejectedRow]:
    """The file's values; records of other annotation tools come flat."""
    decoder = _decoder(notes)
    with open_text(path, reading, limits, notes) as stream:
        for item in _READERS[reading.format](stream, decoder, limits, notes):
            yield item if isinstance(item, RejectedRow) else item._replace(value=flatten_record(item.value))


def _decoder(notes: Notes) -> JSONDecoder:
    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            notes.notice("keys given twice in a row; the last counts", len(pairs) - len(found))
        return found

    return JSONDecoder(object_pairs_hook=collect, parse_float=Number, parse_int=Number, parse_constant=Number)


def _lines(
    stream: io.TextIOBase, decoder: JSONDecoder, limits: Limits, notes: Notes
) -> Iterator[Item | RejectedRow]:
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


def _read(decode: Callable[[str], Any], text: str, line: int) -> Item | RejectedRow:
    try:
        return Item(line, decode(text))
    except JSONDecodeError as error:
        return RejectedRow(
            line,
            message("not valid JSON: %(msg)s at character %(pos)s", msg=fault_of(error), pos=error.pos + 1),
        )
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
) -> Iterator[Item | RejectedRow]:
    """The values of an array, of several one after the other, or of a file of values over any number of lines."""
    buffer = _Buffer(stream)
    while opening := buffer.skip(_SPACE + ","):
        if opening != "[":
            yield _next_item(buffer, decoder, limits)
            continue
        buffer.advance(buffer.place + 1)
        while (char := buffer.skip(_SPACE + ",")) != "]":
            if not char:
                raise InvalidFileError(
                    "The JSON array is cut off at line %(line)s: its ']' is missing.",
                    line=buffer.line,
                )
            yield _next_item(buffer, decoder, limits)
        buffer.advance(buffer.place + 1)


def _next_item(buffer: _Buffer, decoder: JSONDecoder, limits: Limits) -> Item:
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
        except RecursionError:
            raise InvalidFileError(
                "The row at line %(line)s can't be read: %(why)s.", line=buffer.line, why=_TOO_DEEP
            ) from None
    item = Item(buffer.line, value)
    buffer.advance(end)
    return item


def _object(
    stream: io.TextIOBase, decoder: JSONDecoder, limits: Limits, notes: Notes
) -> Iterator[Item | RejectedRow]:
    """The rows of an object that is a whole table. It is read as one, so it may not be large."""
    text = stream.read(_MAX_OBJECT + 1)
    if len(text) > _MAX_OBJECT:
        raise InvalidFileError(
            "The file is one JSON object of more than %(most)s MB. Write one object a line (JSON Lines).",
            most=_MAX_OBJECT // 2**20,
        )
    item = _read(decoder.decode, text.strip(_SPACE), 1)
    if isinstance(item, RejectedRow):
        raise InvalidFileError("The JSON file can't be read: %(why)s.", why=item.reason)
    rows = rows_within(item.value) if isinstance(item.value, dict) else None
    if rows is None:
        raise InvalidFileError(ONE_OBJECT)
    # Where a row begins is not known, so rows are counted.
    yield from (Item(number, row) for number, row in enumerate(rows, start=1))


_READERS = {"jsonl": _lines, "json": _array, "object": _object}
