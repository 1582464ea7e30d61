"""The one door to a file's rows: every format comes out as text cells under named columns, or as a named rejection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from annotation.errors import InvalidFileError
from annotation.files.cells import NULL
from annotation.files.decoding import open_decoded
from annotation.files.excel.reader import filled_width, read_excel
from annotation.files.header import name_columns
from annotation.files.json_file import open_json
from annotation.files.records import Limits, Notes, Reading, RejectedRow, SourceRow, Table
from annotation.files.text.csv_file import read_csv
from annotation.files.writers import unguard
from annotation.messages import message
from mlcore.messages import Message

# So many rows are looked at before the header is believed: if all are wider than it, the file is refused.
_TRIAL_ROWS = 100
_TRIAL_CHARACTERS = 1_000_000


def open_table(
    path: Path,
    reading: Reading,
    limits: Limits,
    *,
    text_columns: Sequence[str] = (),
    scan_rows: int | None = None,
) -> Table:
    """Opens a file as a table of text.

    Nothing is guessed from the cells: ``007`` and ``NA`` stay what they are. A row that is not as wide as the header
    is rejected with its line number and never shifted or filled up (Excel drops empty cells at a row's end, so in
    a sheet the missing ones are empty). Blank rows are counted and left out.

    Args:
        text_columns: Columns whose cells must be plain text; matters for JSON and Parquet, where a cell may be a list or an object.
        scan_rows: So many rows of a JSON file or a sheet are searched for columns; None for all.

    Raises:
        InvalidFileError: The file as a whole can't be read, with a sentence that says why; also later, from ``rows``.
    """
    notes = Notes()
    if reading.format in ("jsonl", "json", "object"):
        return open_json(path, reading, limits, notes, text_columns=text_columns, scan_rows=scan_rows)
    if reading.format == "parquet":
        return open_decoded(path, reading, limits, notes, text_columns=text_columns, scan_rows=scan_rows)
    if reading.format == "xlsx":
        # In a sheet nothing can be shifted, so a column without a name is one all the same.
        width = filled_width(path, reading, limits, scan_rows)
        columns, records = _named(read_excel(path, reading, limits, notes), reading, limits, notes, width)
        rows = _fitting(records, len(columns), notes, fill_up=True)
    elif reading.format == "sheets":
        opened = open_decoded(path, reading, limits, notes)
        columns, records = _named(opened.rows, reading, limits, notes)
        rows = _fitting(records, len(columns), notes, fill_up=True)
    else:
        columns, records = _named(read_csv(path, reading, limits, notes), reading, limits, notes)
        rows = _fitting(_believed(records, len(columns)), len(columns), notes, fill_up=False)
    if reading.header and len(columns) > 1:
        rows = _without_repeated_header(rows, columns)
    return Table(columns, _unguarded(rows) if reading.guarded else rows, notes)


def _named(
    records: Iterator[SourceRow | RejectedRow], reading: Reading, limits: Limits, notes: Notes, width: int = 0
) -> tuple[tuple[str, ...], Iterator[SourceRow | RejectedRow]]:
    """The columns' names (of at least ``width`` columns) and the rows below; where no row names them, they are numbered."""
    first = _first_filled(records)
    if not reading.header:
        if not reading.delimiter and reading.format == "csv":
            return ("text",), chain([first], records)
        names = [f"column {place}" for place in range(1, max(width, len(first.cells)) + 1)]
        return name_columns(names, limits, notes), chain([first], records)
    for _skipped in range(reading.header - 1):
        notes.notice("rows above the column names left out")
        first = _first_filled(records)
    cells = list(map(unguard, first.cells)) if reading.guarded else first.cells
    return name_columns([*cells, *[""] * (width - len(cells))], limits, notes), records


def _first_filled(records: Iterator[SourceRow | RejectedRow]) -> SourceRow:
    for record in records:
        if isinstance(record, RejectedRow):
            raise InvalidFileError(
                "The header (line %(line)s) can't be read: %(reason)s.",
                line=record.line,
                reason=record.reason,
            )
        if any(map(str.strip, record.cells)):
            return record
    raise InvalidFileError("The file is empty.")


def _fitting(
    records: Iterator[SourceRow | RejectedRow], width: int, notes: Notes, *, fill_up: bool
) -> Iterator[SourceRow | RejectedRow]:
    """Rows as wide as the header; others rejected, blank ones counted."""
    for record in records:
        if isinstance(record, RejectedRow):
            yield record
            continue
        cells = record.cells
        if not any(map(str.strip, cells)):
            notes.notice("blank rows left out")
        elif len(cells) == width:
            yield record
        elif len(cells) > width:
            yield _cut_empty_surplus(record, width, notes)
        elif fill_up:
            cells.extend([""] * (width - len(cells)))
            yield record._replace(types=record.types and record.types.ljust(width, NULL))
        else:
            yield RejectedRow(record.line, _wrong_width(len(cells), width))


def _without_repeated_header(
    rows: Iterator[SourceRow | RejectedRow], columns: tuple[str, ...]
) -> Iterator[SourceRow | RejectedRow]:
    """Files that were put together end to end have their column names again in the middle."""
    first, names = columns[0], list(columns)
    for row in rows:
        if (
            isinstance(row, SourceRow)
            and row.cells[0].endswith(first)
            and [cell.strip("\ufeff \t") for cell in row.cells] == names
        ):
            yield RejectedRow(row.line, message("the row repeats the column names"))
        else:
            yield row


def _cut_empty_surplus(record: SourceRow, width: int, notes: Notes) -> SourceRow | RejectedRow:
    if _filled_width(record.cells, width) > width:
        return RejectedRow(record.line, _wrong_width(len(record.cells), width))
    notes.notice("rows with empty cells beyond the header")
    return SourceRow(record.line, record.cells[:width], record.types[:width])


def _wrong_width(fields: int, width: int) -> Message:
    return message(
        "the row has %(fields)s, the header has %(names)s", fields=_fields(fields), names=_names(width)
    )


def _believed(records: Iterator[SourceRow | RejectedRow], width: int) -> Iterator[SourceRow | RejectedRow]:
    """The records, unless not one of the first is as wide as the header: then it is wrong, or the delimiter."""
    first = list(_first_records(records))
    widths = {
        _filled_width(each.cells, width) for each in first if isinstance(each, SourceRow) and any(each.cells)
    }
    if widths and width not in widths:
        low, high = min(widths), max(widths)
        between = message("%(low)s to %(high)s fields", low=low, high=high)
        fields = _fields(low) if low == high else between
        raise InvalidFileError(
            "The header has %(names)s, but the rows have %(fields)s. CORAL does not guess which "
            "belong together: correct the header, or put quotes around cells that contain the "
            "delimiter.",
            names=_names(width),
            fields=fields,
        )
    yield from chain(first, records)


def _first_records(records: Iterator[SourceRow | RejectedRow]) -> Iterator[SourceRow | RejectedRow]:
    size = 0
    for record in islice(records, _TRIAL_ROWS):
        yield record
        size += 0 if isinstance(record, RejectedRow) else sum(map(len, record.cells))
        if size > _TRIAL_CHARACTERS:
            return


def _filled_width(cells: Sequence[str], width: int) -> int:
    """A row's width, empty cells beyond the header not counted."""
    filled = len(cells)
    while filled > width and not cells[filled - 1].strip():
        filled -= 1
    return filled


def _unguarded(rows: Iterator[SourceRow | RejectedRow]) -> Iterator[SourceRow | RejectedRow]:
    for row in rows:
        yield row if isinstance(row, RejectedRow) else SourceRow(row.line, list(map(unguard, row.cells)))


def _fields(count: int) -> Message:
    return message("1 field") if count == 1 else message("%(count)s fields", count=count)


def _names(count: int) -> Message:
    return message("1 name") if count == 1 else message("%(count)s names", count=count)
