"""The columns of the review table: the usual ones, further ones, and those that were uploaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _

from annotation.models import Membership, Project, Sample

#: Part of the table as it is made; a member can leave them out. The text and the correction always stay.
USUAL = {
    "number": _("Row number"),
    "llm": _("LLM"),
    "slm": _("SLM"),
    "confidence": _("Confidence"),
    "clean": _("Clean probability"),
    "flag": _("Flag"),
}
UPLOADED = "uploaded-"
MOST_CELLS = (
    6  # columns of a table's content that are shown before a member chooses: what fits into 1,440 pixels
)


@dataclass(frozen=True, slots=True)
class FurtherColumn:
    """A column that a member can add. ``value`` says what stands in a row's cell."""

    key: str
    title: Any
    value: Callable[[Sample], Any]


@dataclass(frozen=True, slots=True)
class ColumnChoice:
    """One box of the list of columns."""

    key: str
    title: Any
    is_on: bool


@dataclass(frozen=True, slots=True)
class Columns:
    """What one member sees.

    Attributes:
        hidden: the usual columns that are left out, for templates: ``hidden.llm``.
        cells: the columns of a record of a table; none for a text, which is shown as one.
        further: the columns that are added.
        choices: all there are, for the list to choose from.
    """

    hidden: dict[str, bool]
    cells: list[FurtherColumn]
    further: list[FurtherColumn]
    choices: list[ColumnChoice]

    @property
    def needs_uploaded(self) -> bool:
        """Whether the uploaded cells have to be read."""
        return bool(self.cells) or any(column.key.startswith(UPLOADED) for column in self.further)


def columns_of(project: Project, membership: Membership | None) -> Columns:
    """The columns that the member chose, or the usual ones."""
    cells = content_cells(project)
    wanted = set(membership.columns if membership else ()) or {
        *USUAL,
        *(column.key for column in cells[:MOST_CELLS]),
    }
    further = further_columns(project)
    keys = {column.key for column in cells}
    return Columns(
        hidden={key: key not in wanted for key in USUAL},
        cells=[column for column in cells if column.key in wanted],
        further=[column for column in further if column.key in wanted - keys],
        choices=[
            *(ColumnChoice(key, title, key in wanted) for key, title in USUAL.items()),
            *(ColumnChoice(column.key, column.title, column.key in wanted) for column in further),
        ],
    )


def further_columns(project: Project) -> list[FurtherColumn]:
    """What can be added. The reference labels are not among it: they are for measuring, and would sway who reviews."""
    return [
        FurtherColumn("id", _("Id"), lambda row: row.external_id),
        FurtherColumn("risk", _("Risk"), lambda row: _percent(row.risk)),
        FurtherColumn("llm_confidence", _("LLM confidence"), lambda row: _percent(row.llm_confidence)),
        FurtherColumn("source", _("Decided by"), lambda row: row.get_source_display() if row.source else ""),
        FurtherColumn("at", _("Corrected at"), lambda row: _minute(row.corrected_at)),
        FurtherColumn("round", _("Round"), lambda row: row.round or ""),
        *_uploaded(project.columns, left_out=project.reference_column),
    ]


def content_cells(project: Project) -> list[FurtherColumn]:
    """The content of a table's record, column by column."""
    if project.task.student != "table":
        return []
    content = set(project.content_columns)
    return [
        column
        for column in _uploaded(project.columns, left_out=project.reference_column)
        if column.title in content
    ]


def _uploaded(names: Sequence[str], *, left_out: str) -> list[FurtherColumn]:
    def cell(place: int) -> Callable[[Sample], Any]:
        return lambda row: row.fields[place] if place < len(row.fields) else ""

    return [
        FurtherColumn(f"{UPLOADED}{place}", name, cell(place))
        for place, name in enumerate(names)
        if name != left_out
    ]


def _minute(value: datetime | None) -> str:
    return f"{localtime(value):%Y-%m-%d %H:%M %Z}" if value else ""


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value * 100:.1f}\N{NO-BREAK SPACE}%"
