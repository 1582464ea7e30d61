"""The sheets of a workbook, and which of them is read unless another is chosen."""

from __future__ import annotations

from pathlib import Path

from annotation.errors import InvalidFileError
from annotation.files.excel.package import Package, local, read_workbook
from annotation.files.records import Limits, Sheet

TABLE_ROWS = 2  # a sheet with fewer is a title or a note, not a table


def list_sheets(path: Path, limits: Limits) -> tuple[tuple[Sheet, ...], str]:
    """All worksheets, and the name of the one to read unless another is chosen: the first visible one with at least two
    rows, else the first with something in it, else the first of all. A title page has one row."""
    with Package(path, limits) as package:
        parts = read_workbook(package).sheets
        if not parts:
            raise InvalidFileError("The Excel file has no worksheet.")
        visible_first = sorted(parts, key=lambda each: each.sheet.hidden)
        sizes = ((_filled_rows(package, each.part), each) for each in visible_first)
        chosen, most = parts[0], 0
        for rows, each in sizes:
            if rows > most:
                chosen, most = each, rows
            if most == TABLE_ROWS:
                break
    return tuple(each.sheet for each in parts), chosen.sheet.name


def _filled_rows(package: Package, part: str) -> int:
    """How many rows of a sheet hold something; not counted beyond ``TABLE_ROWS``."""
    if not package.has(part):
        return 0
    rows: set[int] = set()
    begun = 0

    def start(tag: str, _attributes: dict[str, str]) -> None:
        nonlocal begun
        name = local(tag)
        if name == "row":
            begun += 1
        elif name in ("v", "t"):
            rows.add(begun)

    for _block in package.parse(part, start=start):
        if len(rows) >= TABLE_ROWS:
            break
    return min(len(rows), TABLE_ROWS)
