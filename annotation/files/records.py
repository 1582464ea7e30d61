"""What travels out of the readers: how a file is read, its rows, and what was noticed on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple

from annotation.messages import message
from mlcore.messages import Message

#: Formats that are text and so have an encoding.
TEXT_FORMATS = ("csv", "jsonl", "json", "object")
#: Formats of workbooks, ``sheets`` those that a library reads as a whole.
WORKBOOKS = ("xlsx", "sheets")
FileFormat = Literal["csv", "xlsx", "jsonl", "json", "object", "parquet", "sheets"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may be. ``file_bytes`` holds for the upload, ``unpacked_bytes`` for what comes out of a zip or gzip."""

    file_bytes: int = 200 * 2**20
    unpacked_bytes: int = 1000 * 2**20
    rows: int = 1_000_000
    columns: int = 512
    cell_characters: int = 262_144

    @property
    def row_characters(self) -> int:
        """A row may be as long as four of the longest cells; more is refused before it fills the memory."""
        return 4 * self.cell_characters


@dataclass(frozen=True, slots=True)
class Sheet:
    """One sheet of a workbook."""

    name: str
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file is read: what was detected, or what the person chose instead.

    ``delimiter`` and ``quote`` are empty where the file has none (one text a line; quotes are plain characters).
    ``sure`` is false where the encoding is a guess. ``guarded`` says that the file is CORAL's own CSV export, whose
    leading apostrophes guard formulas and are taken off again.

    ``header`` is the filled row that names the columns, counted from 1, or 0 if none does; ``header_said`` that a person
    said so. ``inner`` names fields within lists and objects that are columns, too; ``schema`` the types of a
    Parquet file. ``replace_bad`` puts the
    character U+FFFD for what does not fit the encoding instead of rejecting the row; ``fill_merged`` gives every cell
    of a merged area in Excel its value instead of the first alone. ``escaped``: a backslash stands before quotes that
    belong to a cell. ``wrapped``: each row as a whole stands in quotes.
    """

    format: FileFormat
    gzip: bool = False
    encoding: str = "utf-8"
    sure: bool = True
    delimiter: str = ","
    quote: str = '"'
    separator_line: bool = False
    sheet: str = ""
    sheets: tuple[Sheet, ...] = ()
    guarded: bool = False
    header: int = 1
    header_said: bool = False
    inner: tuple[str, ...] = ()
    schema: str = ""
    replace_bad: bool = False
    escaped: bool = False
    wrapped: bool = False
    fill_merged: bool = False

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Reading:
        reading = cls(**values)
        reading = replace(reading, inner=tuple(reading.inner))
        return replace(reading, sheets=tuple(Sheet(**each) for each in values.get("sheets", ())))


class SourceRow(NamedTuple):
    """One row as it stands in the file; ``line`` is where it begins, counted from 1 as an editor or Excel does.

    ``types`` has a letter of :mod:`annotation.files.cells` for each cell; none where all are texts.
    """

    line: int
    cells: list[str]
    types: str = ""


def letters(types: Sequence[str]) -> str:
    """``SourceRow.types`` of a row."""
    return "" if types.count("s") == len(types) else "".join(types)


class RejectedRow(NamedTuple):
    """A row that can't be read as it stands, and why."""

    line: int
    reason: Message


def row_too_long(limits: Limits) -> Message:
    return message("the row has more than %(most)s characters, the maximum", most=limits.row_characters)


@dataclass(slots=True)
class Notes:
    """What a reader noticed, and how far it has come. ``counts`` are by the English text of what was noticed."""

    counts: Counter[str] = field(default_factory=Counter)
    bytes_read: int = 0
    bytes_total: int = 0

    def notice(self, what: str, times: int = 1) -> None:
        """Count what was noticed, named by an English text that makemessages finds here."""
        self.counts[what] += times


@dataclass(slots=True)
class Table:
    """An opened file: its columns, its rows (read as they are asked for), and what was noticed so far.

    ``inner``: those of the columns that are fields within another. ``schema``: the types of a Parquet
    file. ``close`` ends the reading before its last row.
    """

    columns: tuple[str, ...]
    rows: Iterator[SourceRow | RejectedRow]
    notes: Notes
    inner: tuple[str, ...] = ()
    schema: str = ""
    close: Callable[[], None] = lambda: None
