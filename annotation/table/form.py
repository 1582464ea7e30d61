"""The table's address: filters, an order, and a place in the pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from annotation.models import Project, Sample
from annotation.table.filters import FilterForm
from annotation.table.keyset import (
    FAR_WINDOW_ROWS,
    PAGE_ROWS,
    SORTS,
    WINDOW_ROWS,
    Cursor,
    Page,
    Sort,
    page_of,
)

#: Filters that have a control of their own above the table; the others fold away.
PLAIN = ("q", "show", "label", "area")
PLACE = ("row", "after", "before", "far", "seen")
LAST_ID = 2**62


class CursorField(forms.CharField):
    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return None
        try:
            return Cursor.parse(text)
        except (ValueError, OverflowError):
            raise forms.ValidationError(
                _("This page link is not valid. Start from the first page.")
            ) from None


@dataclass(frozen=True, slots=True)
class ActiveFilter:
    """A filter that is set, and the address without it."""

    title: Any
    words: str
    query_without: str


class TableForm(FilterForm):
    """What may be asked of the table; everything else in the address is refused or ignored."""

    sort = forms.ChoiceField(label=_("Sort"), required=False)
    row = forms.IntegerField(label=_("Row"), required=False, min_value=1, max_value=10**12)
    after = CursorField(required=False, max_length=60)
    before = CursorField(required=False, max_length=60)
    far = forms.IntegerField(label=_("Rows looked at before"), required=False, min_value=0, max_value=10**12)
    seen = forms.IntegerField(label=_("Rows before this page"), required=False, min_value=0, max_value=10**12)
    round = forms.CharField(required=False, max_length=20)  # the round that is looked at; see the frame

    def __init__(
        self, data: Any, *, project: Project, default_sort: str, sorts: Sequence[str] = tuple(SORTS)
    ) -> None:
        given = data.copy()
        given.setdefault("sort", default_sort)
        super().__init__(given, project=project)
        self._project = project
        self.default_sort = default_sort
        self.fields["sort"].choices = [(key, SORTS[key].title) for key in sorts]  # type: ignore[attr-defined]

    @property
    def order(self) -> Sort:
        return SORTS[self.cleaned_data["sort"] or self.default_sort]

    def page(self, rows: QuerySet[Sample], *, size: int = PAGE_ROWS) -> Page:
        """The page of chosen rows that the form's cursor points to; ``rows`` says what is read of each."""
        wanted = self.cleaned_data
        return page_of(
            self._project,
            self.order,
            rows=rows,
            conditions=self.conditions,
            after=wanted["after"] or self._before_row(),
            before=wanted["before"],
            size=size,
            window=FAR_WINDOW_ROWS if wanted["far"] else WINDOW_ROWS,
        )

    def _before_row(self) -> Cursor | None:
        """The place before the row that the address names, in the order of the file."""
        row = self.cleaned_data["row"]
        return Cursor(float(row - 2), LAST_ID) if row and row > 1 and self.order.field == "position" else None

    def query(self, **changed: Any) -> str:
        """The same question as an address, without a place in the pages and with some values changed."""
        if (changed.get("sort") or self.data.get("sort")) == self.default_sort:
            changed["sort"] = ""
        return super().query(**(dict.fromkeys(PLACE, "") | changed))

    @property
    def address(self) -> str:
        """This page of the table as an address."""
        return self.query(**{name: self.data.get(name, "") for name in PLACE})

    @property
    def active(self) -> list[ActiveFilter]:
        """The filters that are set, each with the address without it."""
        names = [name for name in FilterForm.base_fields if self.data.get(name)]
        return [ActiveFilter(self[name].label, self._words(name), self.query(**{name: ""})) for name in names]

    def _words(self, name: str) -> str:
        if name == "area":
            return str(_("selected"))
        value = self.cleaned_data[name]
        choices = dict(getattr(self.fields[name], "choices", ())) if isinstance(value, str) else {}
        return str(choices.get(value, value))

    @property
    def folded(self) -> list[forms.BoundField]:
        """The filters that fold away."""
        names = [name for name in FilterForm.base_fields if name not in PLAIN]
        return [self[name] for name in names]

    @property
    def folded_on(self) -> int:
        """How many of the folded filters are set."""
        return sum(bool(self.data.get(field.name)) for field in self.folded)
