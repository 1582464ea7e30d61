"""Records of a delimited text file, with the line where each begins.

Python's ``csv`` does the splitting, in its strict mode: what it would otherwise glue together is named and rejected.
Around it stands what it lacks: a record of any length costs a bounded amount of memory, a NUL or a byte that does
not fit is seen, and a quote that is never closed is told from a long text.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from enum import Enum, auto
from itertools import chain
from pathlib import Path

from annotation.errors import InvalidFileError
from annotation.files.records import Limits, Notes, Reading, RejectedRow, SourceRow
from annotation.files.text.encodings import ENCODINGS
from annotation.files.text.streams import open_text
from annotation.messages import message

# NUL never reaches the splitter (it is replaced), so as the delimiter it makes a line one cell.
_NO_DELIMITER = "\0"
_BAD = re.compile("[\ud800-\udfff]")
_QUOTES = re.compile('"+')


_GOES_ON = message(
    "a quoted cell goes on after its closing quote; double the quotes inside, or choose that quotes are plain characters"
)


class _Where(Enum):
    """Where in a record a character stands."""

    BEGIN = auto()  # of a cell
    PLAIN = auto()
    QUOTED = auto()
    AFTER_QUOTE = auto()  # behind one that closes the cell, or is the first of two


class _RecordTooLong(Exception):
    """The record at hand passed the limit; it is skipped to its end."""


class _Lines(Iterator[str]):
    """A file's lines for ``csv.reader``; remembers the lines of the record at hand."""

    def __init__(self, stream: io.TextIOBase, reading: Reading, limits: Limits, notes: Notes) -> None:
        self._readline, self._limit, self._notes = stream.readline, limits.row_characters, notes
        self._replace_bad = reading.replace_bad
        self.number = 0
        self.start_record()

    def start_record(self) -> None:
        self.record: list[str] = []
        self.size = 0
        self.bad = ""

    def __next__(self) -> str:
        line = self._readline(self._limit)
        if not line:
            raise StopIteration
        self.number += 1
        self.size += len(line)
        if "\0" in line:
            self._notes.notice("NUL characters replaced", line.count("\0"))
            line = line.replace("\0", "\ufffd")
        if not line.isascii() and not self.bad:
            self.bad = first_bad_byte(line)
            if self.bad and self._replace_bad:
                line, self.bad = replace_bad(line, self._notes), ""
        self.record.append(line)
        if self.size >= self._limit:
            raise _RecordTooLong
        return line

    def next_piece(self) -> str:
        """The next line, or a piece of one that is too long."""
        piece = self._readline(self._limit)
        self.number += piece.endswith(("\n", "\r"))
        return piece


def replace_bad(text: str, notes: Notes) -> str:
    """The text with U+FFFD for each byte that didn't fit, and each half of a surrogate pair."""
    replaced, times = _BAD.subn("\ufffd", text)
    notes.notice("bytes that are invalid in the encoding, replaced", times)
    return replaced


def first_bad_byte(text: str) -> str:
    """The first byte that didn't fit the encoding, as text such as ``0xE9``, or nothing."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"0x{ord(text[error.start]) & 0xFF:02X}"
    return ""


def read_csv(path: Path, reading: Reading, limits: Limits, notes: Notes) -> Iterator[SourceRow | RejectedRow]:
    """All records of the file, the header first; blank lines come as rows without a filled cell."""
    with open_text(path, reading, limits, notes) as stream:
        if reading.separator_line:
            stream.readline(limits.row_characters)
        if reading.wrapped:
            yield from _unwrapped(_Records(stream, replace(reading, delimiter=""), limits, notes), reading)
        else:
            yield from _Records(stream, reading, limits, notes)


def _unwrapped(
    records: Iterable[SourceRow | RejectedRow], reading: Reading
) -> Iterator[SourceRow | RejectedRow]:
    """Rows each of which stands in quotes as a whole, split once more."""
    for row in records:
        if isinstance(row, RejectedRow):
            yield row
            continue
        try:
            yield SourceRow(row.line, next(make_reader(iter(row.cells), reading), []))
        except csv.Error:
            yield RejectedRow(row.line, _GOES_ON)


class _Records:
    def __init__(self, stream: io.TextIOBase, reading: Reading, limits: Limits, notes: Notes) -> None:
        self._lines = _Lines(stream, reading, limits, notes)
        self._lines.number = int(reading.separator_line)
        self._reading, self._limits = reading, limits
        self._delimiter = reading.delimiter or _NO_DELIMITER
        mark = re.escape(self._delimiter)
        self._cells = re.compile(rf'(?:"(?:[^"]++|"")*+"{mark}|(?!")[^{mark}]*+{mark})*+')

    def __iter__(self) -> Iterator[SourceRow | RejectedRow]:
        lines, encoding = self._lines, ENCODINGS.get(self._reading.encoding, self._reading.encoding)
        # The limit is the module's own; every caller sets the same one, from the settings.
        csv.field_size_limit(self._limits.cell_characters)
        reader = make_reader(lines, self._reading)
        while True:
            start = lines.number + 1
            lines.start_record()
            try:
                for cells in reader:
                    if lines.bad:
                        yield RejectedRow(
                            start,
                            message(
                                "byte %(bad)s is invalid in the encoding %(encoding)s",
                                bad=lines.bad,
                                encoding=encoding,
                            ),
                        )
                    else:
                        yield SourceRow(start, cells)
                    start = lines.number + 1
                    lines.start_record()
                return
            except _RecordTooLong:
                size = self._skip_record(start)
                allowed = self._limits.row_characters
                yield RejectedRow(
                    start,
                    message(
                        "the row has %(size)s characters; at most %(allowed)s are allowed",
                        size=size,
                        allowed=allowed,
                    ),
                )
            except csv.Error as error:
                yield self._explain(error, start)

    def _explain(self, error: csv.Error, start: int) -> RejectedRow:
        if "field limit" in str(error):
            size, allowed = self._skip_record(start), self._limits.cell_characters
            return RejectedRow(
                start,
                message(
                    "a cell has more than %(allowed)s characters, the maximum (CORAL_MAX_CELL_CHARACTERS); the row has %(size)s",
                    allowed=allowed,
                    size=size,
                ),
            )
        if "unexpected end" in str(error) or len(self._lines.record) > 1:
            raise self._unclosed(start)
        return RejectedRow(start, _GOES_ON)

    def _skip_record(self, start: int) -> int:
        """Reads on to the end of the record at hand, without keeping it, and returns its length."""
        size, where = 0, _Where.BEGIN
        for piece in chain(self._lines.record, iter(self._lines.next_piece, "")):
            size += len(piece)
            if where == _Where.QUOTED and '"' not in piece.replace('""', ""):
                continue  # the cell goes on, as in most of its lines
            if self._reading.quote:
                where = self._where_after(piece, where, start)
            if where != _Where.QUOTED and piece.endswith(("\n", "\r")):
                return size
        if where == _Where.QUOTED:
            raise self._unclosed(start)
        return size

    def _where_after(self, piece: str, where: _Where, start: int) -> _Where:
        """Where in a record its next character stands, behind a piece that begins at ``where``."""
        at = 0
        while at < len(piece):
            if where == _Where.QUOTED:
                quotes = _QUOTES.search(piece, at)
                if quotes is None:
                    return where
                at = quotes.end()
                where = _Where.AFTER_QUOTE if len(quotes[0]) % 2 else _Where.QUOTED
            elif where == _Where.AFTER_QUOTE and piece[at] not in ('"', self._delimiter, "\r", "\n"):
                raise self._unclosed(start)
            elif where == _Where.BEGIN and (whole := self._cells.match(piece, at)) and whole.end() > at:
                at = whole.end()
            elif piece[at] == '"' and where != _Where.PLAIN:
                where, at = _Where.QUOTED, at + 1
            elif (opening := piece.find(self._delimiter + '"', at)) >= 0:
                where, at = _Where.BEGIN, opening + 1
            else:
                return _Where.BEGIN if piece[-1] == self._delimiter else _Where.PLAIN
        return where

    def _unclosed(self, start: int) -> InvalidFileError:
        return InvalidFileError(
            "A quote opened at line %(start)s is never closed properly, so the rows after it can't be told "
            "apart. Close it, or double the quotes that belong to the text.",
            start=start,
        )


def make_reader(lines: Iterator[str], reading: Reading) -> Iterator[list[str]]:
    """A strict ``csv.reader`` for what was detected."""
    delimiter = reading.delimiter or _NO_DELIMITER
    if not reading.quote:
        return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    escape = "\\" if reading.escaped else None
    return csv.reader(
        lines, delimiter=delimiter, quotechar=reading.quote, doublequote=True, escapechar=escape, strict=True
    )
