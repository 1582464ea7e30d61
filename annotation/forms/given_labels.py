"""Which columns of the rows hold labels, and what these are."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from annotation.models import Project


class GivenLabelsForm(forms.Form):
    COARSE, PEOPLE = "coarse", "people"

    label_columns = forms.MultipleChoiceField(
        label=_("Columns with labels"),
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Several columns are several opinions, such as of some annotators or models."),
        error_messages={"required": _("Choose at least one column that holds labels.")},
    )
    use = forms.ChoiceField(
        label=_("What they are"),
        choices=[
            (COARSE, _("coarse labels, in which the SLM looks for errors")),
            (PEOPLE, _("corrections by people, which count as decided")),
        ],
        widget=forms.RadioSelect,
        initial=COARSE,
    )
    confidence = forms.ChoiceField(
        label=_("Confidence (optional)"),
        required=False,
        help_text=_("How sure the model was of its label: 0 to 1, or percent."),
    )
    person = forms.ChoiceField(
        label=_("By whom (optional)"),
        required=False,
        help_text=_("User names; other names count as yours."),
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        free = [name for name in project.columns if name not in (*project.content_columns, project.id_column)]
        choices = [(name, name) for name in free]
        self.fields["label_columns"].choices = choices  # type: ignore[attr-defined]
        self.fields["label_columns"].initial = [project.reference_column] if project.reference_column else []
        for name in ("confidence", "person"):
            self.fields[name].choices = [("", _("none")), *choices]  # type: ignore[attr-defined]
