"""Choose, sort and page a project's rows: every part is one range of an index, however large the corpus is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from annotation.models import Flag, Label, Sample, Source

PAGE_ROWS = 50


@dataclass(frozen=True, slots=True)
class Sort:
    """An order of the table. Rows without a value come last, in both directions."""

    field: str
    title: Any
    descending: bool = False
    nullable: bool = True


SORTS = {
    "position": Sort("position", _("As in the file"), nullable=False),
    "queue": Sort("queue_rank", _("Review queue, most worth a look first")),
    "clean": Sort("clean_prob", _("Clean probability, lowest first")),
    "-clean": Sort("clean_prob", _("Clean probability, highest first"), descending=True),
    "confidence": Sort("confidence", _("SLM confidence, lowest first")),
    "-confidence": Sort("confidence", _("SLM confidence, highest first"), descending=True),
    "risk": Sort("risk", _("Risk of a wrong label, highest first"), descending=True),
}
SHOWN = {
    "": _("All rows"),
    "right": _("Likely right"),
    "wrong": _("Likely wrong"),
    "inconsistent": _("LLM and SLM differ"),
    "corrected": _("Corrected by people"),
    "unlabelled": _("Without a label"),
}


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a sorted table: the row's sort value and its id."""

    value: float | None
    id: int

    @classmethod
    def parse(cls, raw: str) -> Cursor:
        value, _tilde, row_id = raw.partition("~")
        number = None if value == "none" else float(value)
        if number is not None and not math.isfinite(number):
            raise ValueError(raw)
        return cls(number, int(row_id))

    def __str__(self) -> str:
        return f"{'none' if self.value is None else repr(self.value)}~{self.id}"


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


class TableForm(forms.Form):
    """What may be asked of the table; everything else in the address is refused or ignored."""

    show = forms.ChoiceField(label=_("Show"), required=False, choices=list(SHOWN.items()))
    label = forms.ModelChoiceField(
        Label.objects.none(),
        label=_("Label"),
        required=False,
        empty_label=_("Any label"),
        widget=forms.Select(attrs={"data-submit": ""}),
    )
    sort = forms.ChoiceField(
        label=_("Sort"),
        required=False,
        choices=[(key, sort.title) for key, sort in SORTS.items()],
        widget=forms.Select(attrs={"data-submit": ""}),
    )
    q = forms.CharField(
        label=_("Search texts"),
        required=False,
        max_length=200,
        strip=True,
        widget=forms.TextInput(attrs={"type": "search", "placeholder": _("Search texts")}),
    )
    after = CursorField(required=False, max_length=60)
    before = CursorField(required=False, max_length=60)

    def __init__(
        self, data: Any, *, labels: QuerySet[Label], default_sort: str, sorts: Sequence[str] = tuple(SORTS)
    ) -> None:
        given = data.copy()
        given.setdefault("sort", default_sort)
        super().__init__(given, auto_id="filter-%s")
        self.default_sort = default_sort
        self.fields["label"].queryset = labels  # type: ignore[attr-defined]
        self.fields["sort"].choices = [(key, SORTS[key].title) for key in sorts]  # type: ignore[attr-defined]

    @property
    def order(self) -> Sort:
        return SORTS[self.cleaned_data["sort"] or self.default_sort]

    def choose(self, rows: QuerySet[Sample]) -> QuerySet[Sample]:
        """The rows that the form asks for, unsorted."""
        wanted = self.cleaned_data
        if wanted["show"] in Flag.values and wanted["show"]:
            rows = rows.filter(flag=wanted["show"]).exclude(source=Source.PERSON)
        elif wanted["show"] == "corrected":
            rows = rows.filter(source=Source.PERSON)
        elif wanted["show"] == "unlabelled":
            rows = rows.filter(label__isnull=True)
        if wanted["label"]:
            rows = rows.filter(label=wanted["label"])
        if wanted["q"]:
            rows = rows.filter(text__icontains=wanted["q"])
        return rows

    def page(self, rows: QuerySet[Sample]) -> Page:
        """The page of chosen rows that the form's cursor points to."""
        return page_of(
            self.choose(rows),
            self.order,
            after=self.cleaned_data["after"],
            before=self.cleaned_data["before"],
        )

    def query(self, **changed: Any) -> str:
        """The same question as an address, without a place in the pages and with some values changed."""
        names = [name for name in ("show", "label", "sort", "q", "round") if name in self.data]
        values = {name: self.data.get(name, "") for name in names} | changed
        kept = {
            name: value
            for name, value in values.items()
            if value and not (name == "sort" and value == self.default_sort)
        }
        return "?" + urlencode(kept)


@dataclass(slots=True)
class Page:
    rows: list[Sample] = field(default_factory=list)
    previous: Cursor | None = None
    next: Cursor | None = None


def page_of(
    rows: QuerySet[Sample],
    sort: Sort,
    *,
    after: Cursor | None = None,
    before: Cursor | None = None,
    size: int = PAGE_ROWS,
) -> Page:
    """One page by keyset: it starts after (or ends before) a cursor instead of counting over all rows before it."""
    backwards = before is not None and after is None
    cursor = before if backwards else after
    found: list[Sample] = []
    for part in _parts(rows, sort, cursor, backwards=backwards):
        found += part[: size + 1 - len(found)]
        if len(found) > size:
            break
    more, found = len(found) > size, found[:size]
    if backwards:
        found.reverse()
    if not found:
        return Page()
    first, last = (Cursor(getattr(row, sort.field), row.pk) for row in (found[0], found[-1]))
    has_previous, has_next = (more, True) if backwards else (cursor is not None, more)
    return Page(found, first if has_previous else None, last if has_next else None)


def _parts(
    rows: QuerySet[Sample], sort: Sort, cursor: Cursor | None, *, backwards: bool
) -> list[QuerySet[Sample]]:
    """What follows the cursor, in order, as at most three ranges: ties, further values, rows without a value."""
    downwards = sort.descending != backwards
    order, beyond = ("-", "lt") if downwards else ("", "gt")
    known = rows.order_by(f"{order}{sort.field}", f"{order}id")
    if sort.nullable:
        known = known.filter(**{f"{sort.field}__isnull": False})
    unknown = (
        [rows.filter(**{f"{sort.field}__isnull": True}).order_by("-id" if backwards else "id")]
        if sort.nullable
        else []
    )
    if cursor is None:
        return [known, *unknown]
    if cursor.value is None:
        rest = [part.filter(**{f"id__{'lt' if backwards else 'gt'}": cursor.id}) for part in unknown]
        return [*rest, known] if backwards else rest
    ties = known.filter(**{sort.field: cursor.value, f"id__{beyond}": cursor.id})
    further = known.filter(**{f"{sort.field}__{beyond}": cursor.value})
    return [ties, further] if backwards else [ties, further, *unknown]
