"""Uploading a file, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from annotation.files.records import TEXT_FORMATS, WORKBOOKS
from annotation.files.text.delimiters import DELIMITERS, QUOTES
from annotation.files.text.encodings import ENCODINGS


class FilesInput(forms.FileInput):
    allow_multiple_selected = True


class FilesField(forms.FileField):
    """Any number of files; its clean value is a list."""

    def clean(self, data: Any, initial: Any = None) -> Any:
        return [super(FilesField, self).clean(each) for each in data or []]


NO_CHARACTER = "none"  # an empty value would say that nothing was chosen


AUTOMATIC = ("", _("automatic"))


def _offered(characters: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """The choices of a :func:`_character_field`; “no character” is one of them."""
    return [(character or NO_CHARACTER, words) for character, words in characters.items()]


def _character_field(label: Any, choices: Sequence[tuple[Any, Any]] = ()) -> forms.TypedChoiceField:
    """A choice of one character or of none; None if nothing was chosen."""
    return forms.TypedChoiceField(
        label=label,
        required=False,
        choices=choices,
        coerce=lambda value: value.replace(NO_CHARACTER, ""),
        empty_value=None,
    )


class UploadForm(forms.Form):
    """Files, or a text that was pasted."""

    file = FilesField(
        label=_("CSV, Excel, OpenDocument, JSON or Parquet"),
        required=False,
        allow_empty_file=True,  # the reader refuses it, with the file's name
        help_text=_(
            "The first row holds the column names; every other row is one item to label. You can choose several files."
        ),
        widget=FilesInput(
            attrs={"accept": ".csv,.tsv,.txt,.xlsx,.xls,.xlsb,.ods,.jsonl,.json,.parquet,.gz,.zip"}
        ),
    )
    text = forms.CharField(
        label=_("Or paste it here"),
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 5, "spellcheck": "false"}),
    )
    pasted = forms.ChoiceField(
        label=_("Pasted content"),
        required=False,
        choices=[("lines", _("one text per line")), ("table", _("a table with column names, such as CSV"))],
        initial="lines",
    )
    delimiter = _character_field(_("Delimiter"), [AUTOMATIC, *_offered(DELIMITERS)])
    quote = _character_field(_("Quotes"), [AUTOMATIC, *_offered(QUOTES)])

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        has_text = bool(data.get("text", "").strip())
        if not data.get("file") and not has_text and not self.errors:
            raise forms.ValidationError(_("Choose a file, or paste a text."))
        if (
            has_text
            and data.get("pasted") != "table"
            and (data.get("delimiter") or data.get("quote") is not None)
        ):
            raise forms.ValidationError(
                _(
                    "Delimiter and quotes belong to a table: choose that a table was pasted, or leave them on “automatic”."
                )
            )
        return data


#: Where the column names stand: the filled row, counted from 1, or nowhere.
HEADER_ROWS: list[tuple[Any, Any]] = [
    (1, _("in the first row")),
    *((row, format_lazy(_("in row {row} (not counting empty rows)"), row=row)) for row in range(2, 11)),
    (0, _("there are none")),
]


class ReadingForm(forms.Form):
    """How an uploaded file is to be read, where the guess is wrong."""

    encoding = forms.ChoiceField(label=_("Encoding"), required=False)
    delimiter = forms.ChoiceField(label=_("Delimiter"), required=False)
    quote = _character_field(_("Quotes"))
    sheet = forms.ChoiceField(label=_("Sheet"), required=False)

    header = forms.TypedChoiceField(label=_("Column names"), required=False, coerce=int, empty_value=None)
    replace_bad = forms.BooleanField(label=_("Replace invalid bytes"), required=False)
    escaped = forms.BooleanField(label=_("Backslash before quotes"), required=False)
    wrapped = forms.BooleanField(label=_("Rows in quotes"), required=False)
    fill_merged = forms.BooleanField(label=_("Fill merged cells"), required=False)

    def __init__(self, *args: Any, reading: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kind = reading["format"]
        self._keep_flag("replace_bad", kind in TEXT_FORMATS, reading)
        self._keep_flag("fill_merged", kind == "xlsx", reading)
        self._keep_flag("escaped", kind == "csv", reading)
        self._keep_flag("wrapped", kind == "csv", reading)
        choices = {
            "encoding": list(ENCODINGS.items()) if kind in TEXT_FORMATS else [],
            "header": HEADER_ROWS if kind in ("csv", *WORKBOOKS) else [],
            "delimiter": list(DELIMITERS.items()) if kind == "csv" else [],
            "quote": _offered(QUOTES) if kind == "csv" else [],
            "sheet": [(sheet["name"], sheet["name"]) for sheet in reading["sheets"]]
            if kind in WORKBOOKS
            else [],
        }
        values = {"header": 1, **reading, "quote": reading.get("quote") or NO_CHARACTER}
        for name, offered in choices.items():
            if offered:
                self._offer(name, offered, values.get(name))
            else:
                del self.fields[name]

    def _keep_flag(self, name: str, is_offered: bool, reading: Mapping[str, Any]) -> None:
        if is_offered:
            self.fields[name].initial = reading.get(name, False)
        else:
            del self.fields[name]

    def _offer(self, name: str, choices: list[tuple[Any, Any]], value: Any) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices, field.initial = choices, value
