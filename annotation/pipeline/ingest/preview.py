"""What an uploaded file would bring: its columns, its first rows, and what a person should know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from django.utils.text import Truncator, capfirst
from django.utils.translation import gettext as _

from annotation.errors import InvalidFileError
from annotation.files.first_row import FirstRow, judge_first_row
from annotation.files.open_table import open_table
from annotation.files.records import Limits, Reading, RejectedRow, SourceRow, Table
from annotation.files.text.encodings import ENCODINGS
from annotation.files.text.title import below_title, is_like_title
from annotation.messages import message_text
from mlcore.column_kinds import Kind, guess_kind

PREVIEW_ROWS = 20
# For the preview so many rows are looked at; a JSON file's later columns are found by the import itself.
LOOK_ROWS = 200
EXAMPLES = 4
MAX_SHOWN_NAMES = 200
MAX_SHOWN = 2_000  # characters of a cell


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be imported: the columns, the first rows, how the file is read, and what a person should know.

    ``kinds``: what each column holds, guessed from the first rows. ``first_row``: why the first row looks like a row, where
    nobody has said whether it is one.
    """

    columns: tuple[str, ...]
    rows: list[list[str]]
    reading: Reading
    warnings: list[str]
    kinds: dict[str, Kind]
    first_row: FirstRow | None = None

    def examples(self, column: str) -> list[str]:
        """Some different values of a column."""
        place = self.columns.index(column)
        return list(dict.fromkeys(row[place] for row in self.rows))[:EXAMPLES]


def first_look(path: Path, reading: Reading, limits: Limits) -> Preview:
    """What the file looks like, by the column names below a title if there is one above them, or by none at all."""
    if reading.header_said:
        return look(path, reading, limits)
    try:
        preview = look(path, reading, limits)
    except InvalidFileError:
        if (below := below_title(path, reading, limits)) == reading:
            raise
    else:
        if preview.first_row and preview.first_row.sure:
            return look(path, replace(reading, header=0), limits)
        if not is_like_title(preview.columns):
            return preview
        if (below := below_title(path, reading, limits)) == reading:
            return preview
    return look(path, below, limits)


def look(path: Path, reading: Reading, limits: Limits) -> Preview:
    table = open_table(path, reading, limits, scan_rows=LOOK_ROWS)
    seen = list(islice(_clipped(table.rows), LOOK_ROWS))
    table.close()
    rows = [row.cells for row in seen if isinstance(row, SourceRow)]
    if not seen:
        raise InvalidFileError(
            "The file has column names (%(names)s) but no rows.",
            names=Truncator(", ".join(table.columns[:10])).chars(MAX_SHOWN_NAMES),
        )
    kinds = {name: guess_kind([row[place] for row in rows]) for place, name in enumerate(table.columns)}
    judged = None if reading.header_said or reading.header > 1 else judge_first_row(path, reading, limits)
    warnings = [*_warnings(table, reading, seen), *_first_row_warning(reading, judged)]
    reading = replace(reading, inner=table.inner, schema=table.schema)
    return Preview(table.columns, rows[:PREVIEW_ROWS], reading, warnings, kinds, judged)


def _clipped(rows: Iterator[SourceRow | RejectedRow]) -> Iterator[SourceRow | RejectedRow]:
    """Rows with no more of their cells than is shown: 200 of the longest would take hundreds of megabytes."""
    for row in rows:
        yield (
            row
            if isinstance(row, RejectedRow)
            else row._replace(cells=[cell[:MAX_SHOWN] for cell in row.cells])
        )


def _first_row_warning(reading: Reading, judged: FirstRow | None) -> Iterator[str]:
    if judged is None:
        return
    if reading.header:
        sentence = _("The first row is used as the column names, but it may be a row: %(why)s.")
    else:
        sentence = _("The first row is imported as a row, since it looks like one: %(why)s.")
    yield sentence % {"why": judged.reason}


def _warnings(table: Table, reading: Reading, seen: list[SourceRow | RejectedRow]) -> Iterator[str]:
    if not reading.sure:
        yield _("The encoding %(name)s is a guess. If letters look wrong below, choose another.") % {
            "name": ENCODINGS[reading.encoding]
        }
    if reading.guarded:
        yield _(
            "This is CORAL's own export: the apostrophes that keep texts from becoming formulas are taken off."
        )
    if reading.escaped:
        yield _("A backslash before a quote is read as part of the quote, and not of the text.")
    if reading.format == "csv" and reading.delimiter and not reading.quote:
        yield _("Quotes are read as plain characters, since only so the rows are even.")
    if reading.wrapped:
        yield _("Each row stands in quotes as a whole; they are taken off.")
    if any(sheet.hidden and sheet.name == reading.sheet for sheet in reading.sheets):
        yield _("The chosen sheet is hidden in Excel.")
    for what, times in table.notes.counts.items():
        yield _("%(what)s: %(value)s") % {"what": capfirst(message_text(what)), "value": f"{times:,}"}
    for row in [row for row in seen if isinstance(row, RejectedRow)][:5]:
        yield _("Line %(line)d would be rejected: %(reason)s.") % {"line": row.line, "reason": row.reason}
