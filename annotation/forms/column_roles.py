"""What the columns of an uploaded file are to a project, as a form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django import forms
from django.forms.boundfield import BoundField, BoundWidget
from django.utils.translation import gettext_lazy as _

from annotation.pipeline.ingest.column_roles import ColumnRoles, ImportChoices
from annotation.pipeline.ingest.preview import Preview
from mlcore.column_kinds import CHOICES

KINDS = {
    "number": _("number"),
    "category": _("category"),
    "text": _("text"),
    "empty": _("no information"),
}


class MappingForm(forms.Form):
    """Which columns mean what."""

    content_columns = forms.MultipleChoiceField(
        label=_("Content"),
        widget=forms.CheckboxSelectMultiple,
        help_text=_("The columns that the models read and reviewers see: one text column, or several."),
        error_messages={"required": _("Choose at least one column for the models to read.")},
    )
    id_column = forms.ChoiceField(
        label=_("Id (optional)"),
        required=False,
        help_text=_("Your own identifier for each row. It is kept and exported; the models never see it."),
    )
    reference_column = forms.ChoiceField(
        label=_("Reference label (optional)"),
        required=False,
        help_text=_(
            "Labels that you already have. They are used only to measure accuracy; the models never see them."
        ),
    )

    then = forms.MultipleChoiceField(
        label=_("Also import these files with the same settings"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    on_bad_row = forms.ChoiceField(
        label=_("If a row can’t be read"),
        required=False,
        choices=[
            ("skip", _("skip it, import the rest and list it in the report")),
            ("reject", _("stop and import nothing")),
        ],
    )
    keep_duplicates = forms.BooleanField(
        label=_("Also import texts that are already in the project"), required=False
    )
    keep_empty = forms.BooleanField(label=_("Also import rows without a text"), required=False)

    def __init__(
        self,
        *args: Any,
        preview: Preview,
        is_table: bool = False,
        alike: Sequence[tuple[int, str]] = (),
        together: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        """``alike``: waiting files with the same columns. ``together``: those that came with or after this one.

        An older one is offered, too, but not ticked: it may be the one that was uploaded by mistake.
        """
        super().__init__(*args, **kwargs)
        self.preview, self.is_table = preview, is_table
        if alike:
            self.fields["then"].choices = alike  # type: ignore[attr-defined]
            self.fields["then"].initial = list(together)
        else:
            del self.fields["then"]
        choices = [(name, name) for name in preview.columns]
        optional = [("", _("none")), *choices]
        for name, offered in (
            ("content_columns", choices),
            ("id_column", optional),
            ("reference_column", optional),
        ):
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)
            field.choices = offered
        if is_table:
            self._offer_kinds()

    def _offer_kinds(self) -> None:
        said: dict[str, str] = self.initial.get("column_kinds", {})
        for place, name in enumerate(self.preview.columns):
            guess = _("%(kind)s (guessed)") % {"kind": KINDS[self.preview.kinds[name]]}
            self.fields[f"kind_{place}"] = forms.ChoiceField(
                label=_("Type of column “%(name)s”") % {"name": name},
                required=False,
                choices=[("", guess), *((kind, KINDS[kind]) for kind in CHOICES)],
                initial=said.get(name, ""),
            )

    def table_columns(self) -> Iterator[tuple[BoundWidget, BoundField, list[str]]]:
        """For each column of the file: its tick as content, what it holds, and some of its values."""
        for place, choice in enumerate(self["content_columns"]):
            name = self.preview.columns[place]
            yield choice, self[f"kind_{place}"], self.preview.examples(name)

    def roles(self) -> ColumnRoles:
        names = ("content_columns", "id_column", "reference_column", "column_kinds")
        return ColumnRoles(**{name: self.cleaned_data[name] for name in names if name in self.cleaned_data})

    def choices(self) -> ImportChoices:
        data = self.cleaned_data
        return ImportChoices(data["on_bad_row"] or "skip", data["keep_duplicates"], data["keep_empty"])

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        content, row_id, reference = (
            data.get("content_columns", []),
            data.get("id_column"),
            data.get("reference_column"),
        )
        if reference and reference in content:
            sentence = _(
                "“%(name)s” is also selected as content, so the models would see the answer. Deselect "
                "it there, or choose another column here."
            )
            self.add_error("reference_column", sentence % {"name": reference})
        if row_id and row_id == reference:
            sentence = _("“%(name)s” can't be both the id and the reference label.")
            self.add_error("id_column", sentence % {"name": row_id})
        if self.is_table:
            kinds = {name: data.get(f"kind_{place}") for place, name in enumerate(self.preview.columns)}
            data["column_kinds"] = {name: kind for name, kind in kinds.items() if kind and name in content}
        return data
