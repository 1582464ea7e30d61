"""A workbook that CORAL exported: its rows go on in further sheets, and a text that was cut is told of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from annotation.errors import InvalidFileError
from annotation.files.excel.package import SheetPart, Workbook
from annotation.files.excel.writer import ROWS_SHEET, is_cut, is_export, next_sheet
from annotation.files.records import Notes, RejectedRow, SourceRow


def export_sheets(workbook: Workbook, chosen: SheetPart) -> list[SheetPart]:
    """The chosen sheet and those in which its rows go on; nothing if they are not the rows of an export."""
    by_name = {each.sheet.name: each for each in workbook.sheets}
    if chosen.sheet.name != ROWS_SHEET or not is_export(by_name):
        return []
    found = [chosen]
    while further := by_name.get(next_sheet(len(found))):
        found.append(further)
    return found


def one_table(
    sheets: Iterable[Iterator[SourceRow | RejectedRow]], notes: Notes
) -> Iterator[SourceRow | RejectedRow]:
    """The rows of sheets with the same header as one table, the header once, numbered on as if they were one sheet."""
    header: list[str] = []
    above = line = 0
    for number, rows in enumerate(sheets):
        for row in rows:
            line = above + row.line
            if not header:
                header = row.cells if isinstance(row, SourceRow) else []
            elif number and row.line == 1:
                _check_header(row, header, number)
                notes.notice("further sheets of the export read on")
                continue
            if isinstance(row, SourceRow) and (cut := sum(map(is_cut, row.cells))):
                notes.notice("texts that Excel could not hold, cut when they were exported", cut)
            yield row._replace(line=line)
        above = line - 1


def _check_header(row: SourceRow | RejectedRow, header: list[str], number: int) -> None:
    if not isinstance(row, SourceRow) or row.cells != header:
        raise InvalidFileError(
            "The sheets “%(first)s” and “%(other)s” of this export have different column names. Export again.",
            first=ROWS_SHEET,
            other=next_sheet(number),
        )
