"""Pages of a project's rows by keyset: a page starts after a row, so none before it is counted or read.

Every page costs the same, however large the corpus is:

- an order is a range of an index, and so is an order within one flag;
- other filters are looked up while walking along that order, for at most a window of rows; a page that the window did
  not fill says how far it looked, and where to go on;
- before that, a filter that few rows match is looked up by its own index, and its rows are then sorted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.db.models import BooleanField, F, FloatField, Func, QuerySet, Value
from django.utils.translation import gettext_lazy as _

from annotation.models import Project, Sample
from annotation.table.filters import Conditions

PAGE_ROWS = 50
WINDOW_ROWS = 4_000  # looked at for one page
FAR_WINDOW_ROWS = 25_000  # for a page that goes on with a search
FEW_ROWS = 1_000  # so many are fetched and sorted
MOST = 2.0**62  # what every database can hold

#: Filters with an index of their own, the most selective first.
LOOKUPS = (
    ("corrected_by_id",),
    ("llm_label_id", "slm_label_id"),
    ("llm_label_id",),
    ("slm_label_id",),
    ("label_id",),
)


@dataclass(frozen=True, slots=True)
class Sort:
    """An order of the table. Rows without a value come last, in both directions."""

    field: str
    title: Any
    descending: bool = False
    nullable: bool = True


SORTS = {
    "position": Sort("position", _("As in the file"), nullable=False),
    "queue": Sort("queue_rank", _("Review queue, highest priority first")),
    "clean": Sort("clean_prob", _("Clean probability, lowest first")),
    "-clean": Sort("clean_prob", _("Clean probability, highest first"), descending=True),
    "confidence": Sort("confidence", _("SLM confidence, lowest first")),
    "-confidence": Sort("confidence", _("SLM confidence, highest first"), descending=True),
    "risk": Sort("risk", _("Risk of a wrong label, highest first"), descending=True),
}


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a sorted table: a row's sort value and its id."""

    value: float | None
    id: int

    @classmethod
    def parse(cls, raw: str) -> Cursor:
        value, _tilde, row_id = raw.partition("~")
        number, row = None if value == "none" else float(value), int(row_id)
        if not (abs(number or 0.0) < MOST and abs(row) < MOST):  # also refuses NaN
            raise ValueError(raw)
        return cls(number, row)

    def __str__(self) -> str:
        return f"{'none' if self.value is None else repr(self.value)}~{self.id}"


@dataclass(slots=True)
class Page:
    """Some rows of an ordered table.

    Attributes:
        searched: how many rows were looked at for it, if that did not fill it and there are more; else None.
    """

    rows: list[Sample] = field(default_factory=list)
    previous: Cursor | None = None
    next: Cursor | None = None
    searched: int | None = None


def page_of(
    project: Project,
    sort: Sort,
    *,
    rows: QuerySet[Sample] | None = None,
    conditions: Conditions | None = None,
    after: Cursor | None = None,
    before: Cursor | None = None,
    size: int = PAGE_ROWS,
    window: int = WINDOW_ROWS,
) -> Page:
    """The page of a project's rows that starts after a cursor, or ends before one.

    Args:
        rows: what is read of each row; no filter.
        conditions: what must hold of the page's rows.
        window: how many rows may be looked at to find them.
    """
    backwards = before is not None and after is None
    cursor = before if backwards else after
    read = Sample.objects.all() if rows is None else rows
    walk = _Walk(project, read, sort, conditions or Conditions(), backwards=backwards)
    found, stop = walk.find(cursor, size + 1, window)
    more, found = len(found) > size, found[:size]
    ends = [Cursor(getattr(row, sort.field), row.pk) for row in found[:1] + found[-1:]]
    onward = ends[-1] if more else stop
    behind = ends[0] if cursor and ends else cursor
    searched = window if stop and not more else None
    if backwards:
        return Page(found[::-1], previous=onward, next=behind, searched=searched)
    return Page(found, previous=behind, next=onward, searched=searched)


class _Walk:
    """Goes along an order, forwards or backwards, and keeps what matches."""

    def __init__(
        self,
        project: Project,
        read: QuerySet[Sample],
        sort: Sort,
        conditions: Conditions,
        *,
        backwards: bool,
    ) -> None:
        self._read = read
        self._rows = read.filter(project=project)
        self._sort = sort
        self._conditions = conditions
        self._backwards = backwards
        downwards = sort.descending != backwards
        self._sign, self._beyond = ("-", "<") if downwards else ("", ">")

    def find(self, cursor: Cursor | None, most: int, window: int) -> tuple[list[Sample], Cursor | None]:
        """Up to so many rows beyond the cursor, and where the window ended if it did before they were found."""
        few = self._few_rows()
        indexed = {name: value for name, value in self._conditions.equal.items() if name == "flag"}
        found: list[Sample] = []
        for part in self._parts(self._rows.filter(**indexed) if few is None else few, cursor):
            end = None
            if few is None and self._conditions.needs_search:
                end = self._window_end(part, window)
                part = self._conditions.apply_in_order(self._until(part, end), indexed=indexed)
            found += part[: most - len(found)]
            if len(found) == most:
                break
            if end is not None:
                return found, end
        return found, None

    def _few_rows(self) -> QuerySet[Sample] | None:
        """The matching rows, by their ids, where an index tells that they are few."""
        equal = self._conditions.equal
        for columns in LOOKUPS:
            if any(equal.get(column) is None for column in columns):
                continue
            # A label is of one project: asked for both, SQLite may take the project's index, which holds all rows.
            rows = self._rows if "corrected_by_id" in columns else self._read
            matching = rows.order_by().filter(**{column: equal[column] for column in columns})
            ids = list(matching.values_list("pk", flat=True)[: FEW_ROWS + 1])
            if len(ids) <= FEW_ROWS:
                # Without the project: its index would seem as good, and holds all rows.
                return self._conditions.apply_in_order(self._read.filter(pk__in=ids), indexed={})
        return None

    def _parts(self, rows: QuerySet[Sample], cursor: Cursor | None) -> list[QuerySet[Sample]]:
        """What lies beyond the cursor, in order, as ranges: rows that have a value, then those that have none."""
        known = rows.order_by(f"{self._sign}{self._sort.field}", f"{self._sign}id")
        if cursor and cursor.value is not None:
            known = known.filter(_compare(self._sort.field, self._beyond, cursor))
        if not self._sort.nullable:
            return [known]
        known = known.filter(**{f"{self._sort.field}__isnull": False})
        unknown = rows.filter(**{f"{self._sort.field}__isnull": True})
        unknown = unknown.order_by("-id" if self._backwards else "id")
        if cursor and cursor.value is None:
            rest = unknown.filter(**{f"id__{'lt' if self._backwards else 'gt'}": cursor.id})
            return [rest, known] if self._backwards else [rest]
        return [known] if cursor and self._backwards else [known, unknown]

    def _window_end(self, part: QuerySet[Sample], window: int) -> Cursor | None:
        """The last row of a window over a range, by the index alone; None if the range ends before."""
        keys = part.select_related(None).values_list(self._sort.field, "pk")[window - 1 : window]
        return next((Cursor(value, row_id) for value, row_id in keys), None)

    def _until(self, part: QuerySet[Sample], end: Cursor | None) -> QuerySet[Sample]:
        if end is None:
            return part
        if end.value is None:
            return part.filter(**{f"id__{'gte' if self._backwards else 'lte'}": end.id})
        return part.filter(_compare(self._sort.field, "<=" if self._beyond == ">" else ">=", end))


def _compare(name: str, sign: str, cursor: Cursor) -> Func:
    """``(name, id) > (value, id)`` as one comparison, which is one range of an index."""
    row = Func(F(name), F("id"), template="(%(expressions)s)", output_field=FloatField())
    column = {field.name: field for field in Sample._meta.concrete_fields}[name]
    value = column.get_prep_value(cursor.value)  # of the column's own type, or its index doesn't fit
    place = Func(Value(value), Value(cursor.id), template="(%(expressions)s)", output_field=FloatField())
    return Func(row, place, template="%(expressions)s", arg_joiner=f" {sign} ", output_field=BooleanField())
