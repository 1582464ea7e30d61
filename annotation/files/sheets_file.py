"""Old Excel workbooks (.xls), binary ones (.xlsb) and OpenDocument sheets (.ods), by calamine, which reads a sheet as a whole."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from annotation.errors import InvalidFileError
from annotation.files.cells import BOOLEAN, DATE, MOMENT, NULL, TEXT, number_type
from annotation.files.excel.values import plain_number
from annotation.files.json_file import too_long
from annotation.files.records import (
    Limits,
    Notes,
    Reading,
    RejectedRow,
    SourceRow,
    Table,
    letters,
    row_too_long,
)


def open_sheets(
    path: Path,
    reading: Reading,
    limits: Limits,
    notes: Notes,
    *,
    text_columns: Collection[str] = (),
    scan_rows: int | None = None,
) -> Table:
    """The rows of the chosen sheet, or of the first with some, the names among them: ``columns`` are the sheets' names,
    that of the one at hand first, and ``inner`` those of hidden ones.

    Raises:
        InvalidFileError: the workbook is damaged, protected, or too wide.
    """
    from python_calamine import CalamineError, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

    try:
        book = CalamineWorkbook.from_path(path)
        sheets = [each for each in book.sheets_metadata if each.typ == SheetTypeEnum.WorkSheet]
        hidden = [each.name for each in sheets if each.visible != SheetVisibleEnum.Visible]
        names = sorted((each.name for each in sheets), key=lambda name: name in hidden)
        for name in [reading.sheet] if reading.sheet in names else names:
            sheet = book.get_sheet_by_name(name)
            if sheet.height > 1:
                break
    except (CalamineError, OSError, ValueError) as error:
        raise InvalidFileError(
            "The workbook can't be read (%(why)s). Save it as .xlsx, without a password.", why=str(error)
        ) from None
    if not names:
        raise InvalidFileError("The Excel file has no worksheet.")
    if sheet.width > limits.columns:
        raise InvalidFileError(
            "The file has %(columns)s columns; at most %(most)s are allowed (CORAL_MAX_COLUMNS).",
            columns=sheet.width,
            most=limits.columns,
        )
    return Table(
        (name, *(each for each in names if each != name)), _rows(sheet, limits, notes), notes, tuple(hidden)
    )


def _rows(sheet: Any, limits: Limits, notes: Notes) -> Iterator[SourceRow | RejectedRow]:
    notes.bytes_total = sheet.height
    for line, values in enumerate(sheet.iter_rows(), start=1):
        notes.bytes_read = line
        cells, types = zip(*map(_cell_of, values), strict=True) if values else ((), ())
        longest = max(map(len, cells), default=0)
        if longest > limits.cell_characters:
            yield RejectedRow(line, too_long(longest, limits))
        elif sum(map(len, cells)) > limits.row_characters:
            yield RejectedRow(line, row_too_long(limits))
        else:
            yield SourceRow(line, list(cells), letters(types))


def _cell_of(value: Any) -> tuple[str, str]:
    """A value's text, as an .xlsx would give it, and the letter of its type."""
    if isinstance(value, str):
        return (value.replace("\0", "\ufffd"), TEXT) if value else ("", NULL)
    if isinstance(value, bool):
        return str(value).upper(), BOOLEAN
    if isinstance(value, int | float):
        text = plain_number(value)
        return text, number_type(text)
    if isinstance(value, datetime):
        is_day = value.time() == time()
        return (value.date().isoformat(), DATE) if is_day else (value.isoformat(), MOMENT)
    if isinstance(value, date):
        return value.isoformat(), DATE
    return str(value) if isinstance(value, timedelta) else value.isoformat(), TEXT
