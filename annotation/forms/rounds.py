"""Rounds and exports."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from annotation.models import Connection, Iteration, Project


class RoundForm(forms.Form):
    started_from = forms.ChoiceField(choices=Iteration.Start.choices)
    ask_all = forms.BooleanField(required=False)
    connection = forms.ModelChoiceField(Connection.objects.none(), required=False)

    def __init__(self, data: Any, *, project: Project) -> None:
        super().__init__(data)
        self.fields["connection"] = forms.ModelChoiceField(project.connections.all(), required=False)


class ExportForm(forms.Form):
    FORMATS = [
        ("xlsx", _("Excel (.xlsx)")),
        ("csv", _("CSV")),
        ("jsonl", _("JSON lines")),
        ("parquet", _("Parquet")),
        ("label-studio.json", "Label Studio (JSON)"),
        ("label-studio-min.json", "Label Studio (JSON_MIN)"),
        ("doccano.jsonl", "doccano (JSONL)"),
        ("doccano.csv", "doccano (CSV)"),
        ("argilla.json", "Argilla (JSON)"),
        ("prodigy.jsonl", "Prodigy (JSONL)"),
        ("huggingface.zip", _("Hugging Face data set (zip)")),
    ]
    ROWS = [("", _("All rows")), ("sure", _("Only rows whose label is likely enough to be right"))]

    format = forms.ChoiceField(label=_("Format"), choices=FORMATS, widget=forms.RadioSelect, initial="xlsx")
    rows = forms.ChoiceField(label=_("Rows"), required=False, choices=ROWS, widget=forms.RadioSelect)
    certainty = forms.FloatField(
        label=_("Minimum probability of being right (%)"),
        required=False,
        min_value=0,
        max_value=100,
        initial=95,
        help_text=_(
            "Rows that people decided are always included; rows that the SLM has not judged never are."
        ),
        widget=forms.NumberInput(attrs={"min": 0, "max": 100, "step": "any", "inputmode": "decimal"}),
    )
    query = forms.CharField(required=False, max_length=2000, widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if data.get("rows") != "sure":
            data["certainty"] = None
        elif data.get("certainty") is None and "certainty" not in self.errors:
            self.add_error("certainty", _("Enter how probable it must be that a row's label is right."))
        return data

    @property
    def share(self) -> float | None:
        """The certainty as a share."""
        certainty = self.cleaned_data["certainty"]
        return None if certainty is None else certainty / 100
