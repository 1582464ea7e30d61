"""Merged areas of a sheet: their value stands in the first cell alone, and people see it in all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from annotation.errors import InvalidFileError
from annotation.files.excel.package import Package, local
from annotation.files.records import Limits

MOST_AREAS = 10_000
_AREA = re.compile(r"([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})\Z")


@dataclass(slots=True)
class MergedArea:
    """Columns from 0, rows from 1, both ends included."""

    left: int
    top: int
    right: int
    bottom: int
    value: str = ""


class MergedAreas:
    """The areas of a sheet, filled as its rows pass from top to bottom."""

    def __init__(self, areas: Sequence[MergedArea] = ()) -> None:
        self._any = bool(areas)
        self._coming = sorted(areas, key=lambda area: area.top, reverse=True)
        self._at_hand: list[MergedArea] = []

    def __bool__(self) -> bool:
        """Whether there were areas to fill, also when all of them are filled: the file names them below its rows."""
        return self._any

    def fill(self, line: int, cells: list[str]) -> None:
        """Writes the values of the areas that cover a row into its cells."""
        self._at_hand = [area for area in self._at_hand if area.bottom >= line]
        while self._coming and self._coming[-1].top <= line:
            self._take_up(self._coming.pop(), line, cells)
        for area in self._at_hand:
            cells.extend([""] * (area.right + 1 - len(cells)))
            cells[area.left : area.right + 1] = [area.value] * (area.right + 1 - area.left)

    def _take_up(self, area: MergedArea, line: int, cells: list[str]) -> None:
        """Areas that overlap are against Excel's rules; the later one is left out."""
        free = all(area.right < other.left or other.right < area.left for other in self._at_hand)
        if free and line == area.top and area.left < len(cells) and cells[area.left]:
            area.value = cells[area.left]
            self._at_hand.append(area)


def read_merged_areas(package: Package, part: str, limits: Limits) -> MergedAreas:
    """The areas stand below all rows, so the sheet is read once for them. What is beyond the columns allowed is left out."""
    areas: list[MergedArea] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if local(tag) != "mergeCell":
            return
        found = _AREA.match(attributes.get("ref", ""))
        if found is None:
            return
        if len(areas) == MOST_AREAS:
            raise InvalidFileError(
                "The sheet has more than %(most)s merged areas. Read it without filling them.",
                most=MOST_AREAS,
            )
        left, right = _place(found[1]), min(_place(found[3]), limits.columns - 1)
        areas.append(MergedArea(left, int(found[2]), right, int(found[4])))

    package.parse_all(part, start=start)
    return MergedAreas([area for area in areas if area.left <= area.right])


def _place(letters: str) -> int:
    place = 0
    for letter in letters:
        place = place * 26 + ord(letter) - 64
    return place - 1
