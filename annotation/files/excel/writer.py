"""Write an Excel workbook row by row: memory stays the same whatever the number of rows, and no cell is a formula."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import xlsxwriter
from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext as _

from annotation.files.cells import TypedText

#: What one sheet holds besides its header, and one cell (in UTF-16 units, as Excel counts).
MAX_ROWS = 1_048_575
MAX_TEXT = 32_767
#: The sheet that programs read, and that is read back here, has one name in every language of the pages.
ROWS_SHEET = "Rows"
_CUT = " … [cut: the text has {length:,} characters]"
_CUT_MARK = re.compile(r" … \[cut: the text has [0-9,]+ characters\]\Z")
_WIDTH_ROWS = 200
_MIN_WIDTH, _MAX_WIDTH = 8, 60

Cell = str | int | float | date | None


def quality_sheet() -> str:
    """The name of the sheet that tells how good the labels are, in the language of the moment."""
    return _("Quality")


def certificate_sheet() -> str:
    """The name of the sheet that holds the certificate, in the language of the moment."""
    return _("Certificate")


def history_sheet() -> str:
    """The name of the sheet that tells how the labels were made, in the language of the moment."""
    return _("How it was made")


def is_export(names: Container[str]) -> bool:
    """Whether a workbook with sheets of these names is an export, made in whichever language."""
    for language, _name in settings.LANGUAGES:
        with translation.override(language):
            if history_sheet() in names:
                return ROWS_SHEET in names
    return False


def next_sheet(number: int) -> str:
    """The name of the sheet in which the rows go on after so many full ones."""
    return f"{ROWS_SHEET} {number + 1}"


def is_cut(text: str) -> bool:
    """Whether a cell of an export holds a text that was cut."""
    return len(text) > MAX_TEXT // 2 and _CUT_MARK.search(text, len(text) - 100) is not None


class ExcelRow(NamedTuple):
    """One row of the main sheet; ``marked`` ones are coloured."""

    cells: Sequence[Cell]
    marked: bool = False


class ExcelWriter:
    """A workbook that grows on disk. Use as a context manager; the file is whole when the block ends.

    Attributes:
        cut: how many texts were too long for a cell and were cut, with a mark.
    """

    def __init__(self, path: Path) -> None:
        self._book = xlsxwriter.Workbook(
            path,
            {
                "constant_memory": True,
                "strings_to_formulas": False,
                "strings_to_urls": False,
                "strings_to_numbers": False,
                "tmpdir": str(path.parent),
            },
        )
        self._bold = self._book.add_format({"bold": True, "bg_color": "#E8ECF4", "bottom": 1})
        self._marked = self._book.add_format({"bg_color": "#FBE3E4"})
        self._title = self._book.add_format({"bold": True})
        self._plain = self._book.add_format()
        self._dates, self._marked_dates = (
            [
                self._book.add_format({"num_format": code, **more})
                for code in ("yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss")
            ]
            for more in ({}, {"bg_color": "#FBE3E4"})
        )
        self.cut = 0

    def __enter__(self) -> ExcelWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._book.close()
            return
        # A workbook that is not closed leaves its temporary files behind and complains when it is collected.
        for sheet in self._book.worksheets():
            sheet._opt_close()
            Path(sheet.row_data_filename).unlink(missing_ok=True)
        self._book.fileclosed = True

    def write_rows(self, header: Sequence[str], rows: Iterable[ExcelRow]) -> int:
        """The main sheet: header frozen, filter on, widths by the first rows. What one sheet can't hold goes to the next."""
        sheet, count, number = self._new_sheet(ROWS_SHEET, header), 0, 0
        widths = [len(column) + 4 for column in header]
        for row in rows:
            if number == MAX_ROWS:
                self._finish(sheet, header, widths, number)
                sheet, number = self._new_sheet(next_sheet(count // MAX_ROWS), header), 0
            number += 1
            count += 1
            cell_format = self._marked if row.marked else None
            for column, cell in enumerate(row.cells):
                self._write(sheet, number, column, cell, cell_format)
            if count <= _WIDTH_ROWS:
                widths = [
                    max(width, len(str(cell or ""))) for width, cell in zip(widths, row.cells, strict=True)
                ]
        self._finish(sheet, header, widths, number)
        return count

    def write_lines(self, name: str, lines: Iterable[Sequence[Cell]]) -> None:
        """A small sheet of lines; one with a single cell is a heading."""
        sheet = self._book.add_worksheet(name)
        sheet.set_column(0, 0, 34)
        sheet.set_column(1, 5, 20)
        for number, line in enumerate(lines):
            for column, cell in enumerate(line):
                self._write(sheet, number, column, cell, self._title if len(line) == 1 else None)

    def _new_sheet(self, name: str, header: Sequence[str]) -> Any:
        sheet = self._book.add_worksheet(name)
        sheet.freeze_panes(1, 0)
        for column, title in enumerate(header):
            self._write(sheet, 0, column, title, self._bold)
        return sheet

    def _finish(self, sheet: Any, header: Sequence[str], widths: Sequence[int], rows: int) -> None:
        sheet.autofilter(0, 0, max(1, rows), len(header) - 1)
        for column, width in enumerate(widths):
            sheet.set_column(column, column, min(max(width, _MIN_WIDTH), _MAX_WIDTH))

    def _write(self, sheet: Any, row: int, column: int, cell: Cell, cell_format: Any) -> None:
        if isinstance(cell, TypedText):
            cell = cell.as_excel()
        if isinstance(cell, str) and cell:
            if len(cell) > MAX_TEXT // 2:
                cell = self._fitted(cell)
            if cell.startswith("<r>"):
                # XlsxWriter takes a text in these tags for its own rich text and writes it as it is. Given as two
                # pieces, it is escaped like any other.
                sheet.write_rich_string(
                    row, column, cell[:1], self._plain, cell[1:], cell_format or self._plain
                )
            else:
                sheet.write_string(row, column, cell, cell_format)
        elif isinstance(cell, bool):
            sheet.write_boolean(row, column, cell, cell_format)
        elif isinstance(cell, date):
            formats = self._marked_dates if cell_format is self._marked else self._dates
            sheet.write_datetime(row, column, cell, formats[isinstance(cell, datetime)])
        elif isinstance(cell, int | float):
            sheet.write_number(row, column, cell, cell_format)
        elif cell_format:  # coloured and empty, for a spreadsheet's count of filled cells too
            sheet.write_blank(row, column, None, cell_format)

    def _fitted(self, text: str) -> str:
        """The text, cut with a mark where Excel can't hold it."""
        if _utf16_units(text) <= MAX_TEXT:
            return text
        self.cut += 1
        mark = _CUT.format(length=len(text))
        kept = text[: MAX_TEXT - len(mark)]
        while _utf16_units(kept) > MAX_TEXT - len(mark):
            kept = kept[: len(kept) - max(1, (_utf16_units(kept) - MAX_TEXT + len(mark)) // 2)]
        return kept + mark


def _utf16_units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
