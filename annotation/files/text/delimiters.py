"""Which delimiter a text file has, judged over many rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace

from django.utils.translation import gettext_lazy as _

from annotation.files.records import Reading
from annotation.files.text.csv_file import make_reader

#: What a person may choose: the character and the name to show.
DELIMITERS = {
    ",": _("comma"),
    ";": _("semicolon"),
    "\t": _("tab"),
    "|": _("vertical bar"),
    "^": _("caret"),
    "\uff0c": _("full-width comma"),
    "": _("none: one text per line"),
}
# Characters that texts are full of, or that stand for something else: taken only where every single row agrees.
_RARE = ("^", "\uff0c")
#: What quotes may be: around cells that hold a delimiter or a line end, or characters like any other.
QUOTES = {'"': _("around cells"), "": _("plain characters")}
_MAX_ROWS = 500
_ALIKE = 0.9  # share of rows as wide as the first, so that quotes around rows are believed
_WRAPPED = re.compile(r'"(?:[^"]|"")*"')
# A cell between quotes, as they stand around cells that hold a delimiter.
_QUOTED_CELL = re.compile(r'(?:^|[,;|^\uff0c])"[^"\n]*"(?:[,;|^\uff0c]|\r?$)', re.MULTILINE)


def sniff_delimiter(sample: str, reading: Reading, *, complete: bool) -> Reading:
    """``reading`` with the delimiter and quoting under which most rows of ``sample`` are as wide as its first.

    A first line ``sep=;`` decides. A file whose header no delimiter splits is one text a line, unless its rows split
    evenly (then names are missing, which the reader tells).

    Args:
        complete: Whether the sample is the whole file; its last record is not judged otherwise.
    """
    first, _, rest = sample.partition("\n")
    if first.lower().startswith("sep=") and len(named := first.strip("\r\n")[4:]) == 1:
        return replace(
            reading, delimiter=named, separator_line=True, quote=_quote_of(rest, reading, named, complete)
        )
    if inner := _unwrapped(sample):
        wrapped = replace(reading, delimiter=_best_delimiter(inner, reading, complete=True), wrapped=True)
        if wrapped.delimiter and _evenness(inner, wrapped, complete=True)[0] > _ALIKE:
            return wrapped
    best = _best_delimiter(sample, reading, complete)
    if not best and (surplus := _evenly_too_wide(sample, reading, complete)):
        return replace(reading, delimiter=surplus)
    reading = replace(reading, delimiter=best, quote=_quote_of(sample, reading, best, complete))
    return replace(reading, escaped=_is_escaped(sample, reading, complete))


def _best_delimiter(sample: str, reading: Reading, complete: bool) -> str:
    """The delimiter under which most rows are as wide as the first; empty if none splits the header."""
    choices = [
        (_evenness(sample, replace(reading, delimiter=each), complete), each) for each in DELIMITERS if each
    ]
    (share, columns), best = max(choices, key=lambda choice: (choice[0][0] > 0.5, *choice[0]))
    return best if columns > 1 or share else ""


def _unwrapped(sample: str) -> str:
    """The lines without the quotes around them and with those inside halved, if every line stands in quotes as a whole."""
    lines = sample.split("\n")[:_MAX_ROWS]
    filled = [line.strip("\r") for line in lines[: -1 if len(lines) > 1 else None] if line.strip()]
    if len(filled) < 2 or not all(_WRAPPED.fullmatch(line) for line in filled):
        return ""
    return "\n".join(line[1:-1].replace('""', '"') for line in filled) + "\n"


def _is_escaped(sample: str, reading: Reading, complete: bool) -> bool:
    """Whether backslashes stand before quotes, since only so every row is as wide as the first."""
    if '\\"' not in sample or not reading.quote:
        return False
    plain, escaped = (_widths(sample, replace(reading, escaped=mark), complete) for mark in (False, True))
    return len(escaped) >= len(plain) and set(escaped) == {escaped[0]} and set(plain) != {escaped[0]}


def _evenness(sample: str, reading: Reading, complete: bool) -> tuple[float, int]:
    """The share of rows that are as wide as the header, and that width; nothing if the header is one cell."""
    widths = _widths(sample, reading, complete)
    if not widths or widths[0] < 2:
        return 0.0, 0
    share = sum(width == widths[0] for width in widths) / len(widths)
    if reading.delimiter in _RARE and (share < 1 or len(widths) < 2):
        return 0.0, 0
    return share, widths[0]


def _evenly_too_wide(sample: str, reading: Reading, complete: bool) -> str:
    """The delimiter that splits every row, but not the one-cell header, into the same number of cells."""
    for delimiter in DELIMITERS:
        if not delimiter or delimiter in _RARE or _is_punctuation(sample, delimiter):
            continue
        widths = _widths(sample, replace(reading, delimiter=delimiter), complete)[1:]
        if len(widths) > 1 and widths[0] > 1 and set(widths) == {widths[0]}:
            return delimiter
    return ""


def _is_punctuation(sample: str, delimiter: str) -> bool:
    """Whether a comma or semicolon below the header belongs to sentences: a blank follows each, and no cell is a number."""
    rows = re.sub(r"\r\n?", "\n", sample).lstrip("\n").partition("\n")[2]
    if delimiter not in ",;" or rows.count(delimiter) != rows.count(f"{delimiter} "):
        return False
    # Blanks of a line alone: with line ends among them, each of many empty lines would be read from all before it.
    number = rf"(?:^|{delimiter})[^\S\n]*[-+]?[\d.]++[^\S\n]*(?:$|{delimiter})"
    return not re.search(number, rows, re.MULTILINE)


def _quote_of(sample: str, reading: Reading, delimiter: str, complete: bool) -> str:
    """Quotes are plain characters in a file that only so reads evenly, and in which no cell stands in quotes."""
    if delimiter not in ("\t", "") and _QUOTED_CELL.search(sample):
        return '"'
    quoted, plain = (
        _widths(sample, replace(reading, delimiter=delimiter, quote=quote), complete) for quote in ('"', "")
    )
    return "" if 0 in quoted and len(set(plain)) == 1 else '"'


def _widths(sample: str, reading: Reading, complete: bool) -> list[int]:
    """Cells per record, blank lines left out; a malformed record has the width 0, an unclosed quote ends the list."""
    widths: list[int] = []
    reader = make_reader(iter(io.StringIO(sample.replace("\0", "\ufffd"), newline="")), reading)
    for width in _each_width(reader):
        if width != -1:
            widths.append(width)
        if len(widths) == _MAX_ROWS:
            return widths
    return widths if complete or len(widths) < 2 else widths[:-1]


def _each_width(reader: Iterator[list[str]]) -> Iterator[int]:
    while True:
        try:
            for cells in reader:
                yield len(cells) if any(map(str.strip, cells)) else -1
            return
        except csv.Error:
            yield 0
