"""The fields of the filters that Django has none of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import forms
from django.forms.models import ModelChoiceIterator
from django.utils.translation import gettext_lazy as _

from annotation.models import Label

NO_LABEL = "none"  # in place of a label's id
MOST_EDGE = 1e6  # of an area of the map, whose points lie within a few units


class LabelField(forms.ModelChoiceField):  # type: ignore[type-arg]
    """One of the project's labels, by its id."""

    def __init__(self, label: Any, empty_label: Any) -> None:
        super().__init__(Label.objects.none(), label=label, required=False, empty_label=empty_label)


class _LabelsOrNone(ModelChoiceIterator):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[Any]:
        yield from super().__iter__()
        yield NO_LABEL, _("no label")


class LabelOrNoneField(LabelField):
    """The same, or :data:`NO_LABEL`."""

    iterator = _LabelsOrNone

    def clean(self, value: Any) -> Any:
        return NO_LABEL if value == NO_LABEL else super().clean(value)


class PercentField(forms.FloatField):
    """A share that people give as a percentage."""

    def __init__(self, label: Any) -> None:
        widget = forms.NumberInput(attrs={"min": 0, "max": 100, "step": "any", "inputmode": "decimal"})
        super().__init__(label=label, required=False, min_value=0, max_value=100, widget=widget)


class AreaField(forms.CharField):
    """A rectangle on the map of the rows: its left, bottom, right and top edge."""

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        edges = text.split(",") if text else []
        try:
            numbers = [float(edge) for edge in edges]
        except ValueError:
            numbers = []
        if edges and (len(numbers) != 4 or not all(abs(number) < MOST_EDGE for number in numbers)):
            raise forms.ValidationError(
                _("This is no area of the map. Choose one on the page SLM filtering.")
            )
        return numbers
