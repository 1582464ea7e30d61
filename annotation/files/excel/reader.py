"""Rows of an Excel sheet as text, streamed."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from annotation.errors import InvalidFileError
from annotation.files.cells import BOOLEAN, DATE, MOMENT, NULL, TEXT, number_type
from annotation.files.excel.merged import MergedAreas, read_merged_areas
from annotation.files.excel.package import (
    Package,
    SharedStrings,
    SheetPart,
    Workbook,
    local,
    read_strings,
    read_workbook,
    whole,
)
from annotation.files.excel.tool_exports import export_sheets, one_table
from annotation.files.excel.values import GENERAL, CellFormat, number_text, read_formats
from annotation.files.records import Limits, Notes, Reading, RejectedRow, SourceRow, letters, row_too_long
from annotation.messages import message
from mlcore.messages import Message

_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")


def read_excel(
    path: Path, reading: Reading, limits: Limits, notes: Notes
) -> Iterator[SourceRow | RejectedRow]:
    """The rows that stand in the chosen sheet, whatever size it states; empty cells at a row's end are left out."""
    merged = _merged_areas(path, reading, limits)
    with Package(path, limits, notes) as package:
        workbook = read_workbook(package)
        chosen = _sheet_named(workbook, reading.sheet)
        strings = read_strings(package, workbook.strings, limits)
        sheets = export_sheets(workbook, chosen)
        package.follow([each.part for each in sheets or [chosen]])
        try:
            if sheets:
                parts = (
                    _sheet_rows(package, workbook, each, strings, limits, notes, merged) for each in sheets
                )
                yield from one_table(parts, notes)
            else:
                yield from _sheet_rows(package, workbook, chosen, strings, limits, notes, merged)
        finally:
            strings.close()


def _merged_areas(path: Path, reading: Reading, limits: Limits) -> MergedAreas:
    if not reading.fill_merged:
        return MergedAreas()
    with Package(path, limits) as package:
        return read_merged_areas(package, _sheet_named(read_workbook(package), reading.sheet).part, limits)


def filled_width(path: Path, reading: Reading, limits: Limits, most_rows: int | None) -> int:
    """The last column of the chosen sheet with something in it, in so many rows or in all; those beyond the limit aside."""
    with Package(path, limits) as package:
        workbook = read_workbook(package)
        part = _sheet_named(workbook, reading.sheet).part
        if not package.has(part):
            return 0
        strings = read_strings(package, workbook.strings, limits)
        sheet = _SheetReader(strings, [], False, limits, Notes(), MergedAreas())
        width = rows = 0
        try:
            for _block in package.parse(part, start=sheet.start, end=sheet.end, text=sheet.text):
                for row in sheet.rows:
                    rows += 1
                    if isinstance(row, SourceRow):
                        filled = [at for at, cell in enumerate(row.cells, start=1) if cell.strip()]
                        width = max([width, *filled[-1:]])
                sheet.rows.clear()
                if most_rows is not None and rows >= most_rows:
                    break
        finally:
            strings.close()
        return width


def _sheet_named(workbook: Workbook, name: str) -> SheetPart:
    for each in workbook.sheets:
        if each.sheet.name == name or not name:
            return each
    names = ", ".join(repr(each.sheet.name) for each in workbook.sheets)
    raise InvalidFileError(
        "The Excel file has no sheet %(name)s; it has %(names)s.", name=repr(name), names=names
    )


def _sheet_rows(
    package: Package,
    workbook: Workbook,
    chosen: SheetPart,
    strings: SharedStrings,
    limits: Limits,
    notes: Notes,
    merged: MergedAreas,
) -> Iterator[SourceRow | RejectedRow]:
    formats = read_formats(package, workbook.styles)
    if not package.has(chosen.part):
        raise InvalidFileError(
            "The Excel file is damaged: the sheet %(name)s is missing.",
            name=repr(chosen.sheet.name),
        )
    sheet = _SheetReader(strings, formats, workbook.epoch_1904, limits, notes, merged)
    for _block in package.parse(chosen.part, start=sheet.start, end=sheet.end, text=sheet.text):
        while sheet.rows:
            yield sheet.rows.popleft()


class _SheetReader:
    """Puts a sheet's tags together to rows. A cell too many, too long or too far out makes its row a rejected one."""

    def __init__(
        self,
        strings: SharedStrings,
        formats: list[CellFormat],
        epoch_1904: bool,
        limits: Limits,
        notes: Notes,
        merged: MergedAreas,
    ) -> None:
        self.rows: deque[SourceRow | RejectedRow] = deque()
        self._strings, self._formats, self._epoch_1904 = strings, formats, epoch_1904
        self._limits, self._notes, self._merged = limits, notes, merged
        self._places: dict[str, int] = {}
        self._phonetic = False
        self._line = 0
        self._start_row({})
        self._start_cell({})

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = local(tag) if ":" in tag else tag
        if name == "c":
            self._start_cell(attributes)
        elif name in ("v", "t"):
            self._reading = not self._phonetic
            self._parts = self._inline if name == "t" else self._stored
        elif name == "f":
            self._formula = True
        elif name == "rPh":
            self._phonetic = True
        elif name == "row":
            self._start_row(attributes)
        elif name == "mergeCell" and not self._merged:
            self._notes.notice("merged areas, of which only the first cell has the value")

    def text(self, data: str) -> None:
        if self._reading and self._size <= self._limits.cell_characters:
            self._parts.append(data)
            self._size += len(data)

    def end(self, tag: str) -> None:
        name = local(tag) if ":" in tag else tag
        if name in ("v", "t"):
            self._reading = False
        elif name == "c":
            self._end_cell()
        elif name == "row":
            self._end_row()
        elif name == "rPh":
            self._phonetic = False

    def _start_row(self, attributes: dict[str, str]) -> None:
        self._line = whole(attributes.get("r", ""), default=self._line + 1)
        self._cells: list[str] = []
        self._types: list[str] = []
        self._column = -1
        self._row_size = 0
        self._fault: Message | None = None

    def _start_cell(self, attributes: dict[str, str]) -> None:
        place = attributes.get("r")
        self._column = self._column + 1 if place is None else self._place_of(place)
        self._type = attributes.get("t", "n")
        style = whole(attributes.get("s", "0"), default=0)
        self._format = self._formats[style] if style < len(self._formats) else GENERAL
        self._stored: list[str] = []
        self._inline: list[str] = []
        self._parts = self._stored
        self._size = 0
        self._reading = self._formula = self._phonetic = False

    def _place_of(self, reference: str) -> int:
        letters = reference.rstrip("0123456789")
        place = self._places.get(letters)
        if place is None:
            place = 0
            for letter in letters[:4].upper():
                place = place * 26 + ord(letter) - 64
            place -= 1
            if len(self._places) < 20_000:
                self._places[letters] = place
        return place

    def _end_cell(self) -> None:
        # A cell may hold its text in both ways; Excel shows the one that the cell's type names.
        parts = (self._inline if self._type == "inlineStr" else self._stored) or self._inline or self._stored
        if not parts:
            if self._formula:
                self._notes.notice("formulas without a stored value, left empty")
            return
        text = self._text_of("".join(parts))
        if not text or self._fault:
            return
        self._row_size += len(text)
        if not 0 <= self._column < self._limits.columns:
            self._fault = message(
                "a cell stands in column %(column)s; at most %(allowed)s are allowed (CORAL_MAX_COLUMNS)",
                column=self._column + 1,
                allowed=self._limits.columns,
            )
        elif len(text) > self._limits.cell_characters:
            self._fault = message(
                "a cell has more than %(most)s characters, the maximum (CORAL_MAX_CELL_CHARACTERS)",
                most=self._limits.cell_characters,
            )
        elif self._row_size > self._limits.row_characters:
            self._fault = row_too_long(self._limits)
        else:
            missing = self._column + 1 - len(self._cells)
            self._cells.extend([""] * missing)
            self._types.extend(NULL * missing)
            self._cells[self._column], self._types[self._column] = text, self._letter_of(text)

    def _text_of(self, raw: str) -> str:
        kind = self._type
        if kind == "n":
            return number_text(raw.strip(), self._format, epoch_1904=self._epoch_1904)
        if kind == "s":
            return self._plain(self._shared(raw))
        if kind == "b":
            return "TRUE" if raw.strip() == "1" else "FALSE"
        if kind == "e":
            self._notes.notice("cells with an Excel error, left empty")
            return ""
        return self._plain(raw)

    def _letter_of(self, text: str) -> str:
        """The type of a cell, where its text says all that Excel knows of it."""
        if self._type == "b":
            return BOOLEAN
        if self._type != "n":
            return TEXT
        if self._format.kind == "date" and "-" in text:
            return MOMENT if "T" in text else DATE
        return number_type(text) if self._format.kind == "number" else TEXT

    def _shared(self, raw: str) -> str:
        index = whole(raw.strip(), default=len(self._strings))
        if index >= len(self._strings):
            raise InvalidFileError(
                "The Excel file is damaged: row %(line)s refers to a text that is missing. Save it again.",
                line=self._line,
            )
        return self._strings[index]

    def _plain(self, text: str) -> str:
        """Excel writes what XML can't hold as ``_x000D_``; half a surrogate pair stays written so."""
        if "_x" not in text:
            return text
        plain = _ESCAPED.sub(_unescape, text)
        if "\0" in plain:
            self._notes.notice("NUL characters replaced", plain.count("\0"))
        return plain.replace("\0", "\ufffd")

    def _end_row(self) -> None:
        if self._merged and not self._fault:
            self._merged.fill(self._line, self._cells)
            if sum(map(len, self._cells)) > self._limits.row_characters:
                self._fault = row_too_long(self._limits)
        if self._fault:
            self.rows.append(RejectedRow(self._line, self._fault))
        elif self._cells:
            types = "".join(self._types).ljust(len(self._cells), NULL)
            self.rows.append(SourceRow(self._line, self._cells, letters(types)))


def _unescape(match: re.Match[str]) -> str:
    code = int(match[1], 16)
    return match[0] if 0xD800 <= code <= 0xDFFF else chr(code)
