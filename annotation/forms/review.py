"""Corrections, answers and draws."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from annotation.forms.fields import is_id
from annotation.models import Correction, Label, Project
from annotation.pipeline.project.configure import MANY_LABELS


class CorrectionForm(forms.Form):
    label = forms.ModelChoiceField(Label.objects.none(), required=False)
    version = forms.IntegerField(min_value=0, required=False)
    because = forms.ChoiceField(
        choices=[(Correction.Because.BROWSING, ""), (Correction.Because.QUEUE, "")], required=False
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["label"].queryset = project.labels.all()  # type: ignore[attr-defined]
        self.fields["label"].error_messages["invalid_choice"] = _(
            "This label does not belong to the project. Reload the page and choose again."
        )
        if project.labels.count() > MANY_LABELS:
            self.fields["label"].to_field_name = "name"  # type: ignore[attr-defined]


class AnswerForm(forms.Form):
    """An answer of the focus view. ``id`` is the page's own, so that a repeated request counts once."""

    id = forms.UUIDField()
    sample = forms.IntegerField(min_value=1, max_value=10**18)
    label = forms.ModelChoiceField(Label.objects.none())
    version = forms.IntegerField(min_value=0)
    because = forms.ChoiceField(choices=Correction.Because.choices)
    seconds = forms.FloatField(min_value=0, max_value=10**7, required=False)

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["label"].queryset = project.labels.all()  # type: ignore[attr-defined]
        self.fields["label"].error_messages["invalid_choice"] = _(
            "This label does not belong to the project. Reload the page and choose again."
        )


class MarkForm(forms.Form):
    """What is noted of a row beside its label."""

    unclear = forms.BooleanField(required=False)
    for_colleague = forms.BooleanField(label=_("A colleague should look at this row"), required=False)
    note = forms.CharField(
        label=_("Note"), required=False, max_length=2_000, widget=forms.Textarea(attrs={"rows": 3})
    )


class UndoForm(forms.Form):
    undo_id = forms.UUIDField()
    of = forms.UUIDField(required=False)


class HeldRowsForm(forms.Form):
    """The rows that a page has already, as ids between commas."""

    have = forms.CharField(required=False, max_length=1_000)

    def clean_have(self) -> set[int]:
        parts = [part for part in self.cleaned_data["have"].split(",") if part]
        if not all(map(is_id, parts)):
            raise forms.ValidationError(_("Row ids must be numbers separated by commas."))
        return {int(part) for part in parts}


class AuditForm(forms.Form):
    rows = forms.IntegerField(label=_("Rows to draw"), min_value=10, max_value=5_000)


class TargetForm(forms.Form):
    target = forms.FloatField(min_value=0.5, max_value=0.999)
