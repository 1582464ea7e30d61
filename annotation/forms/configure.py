"""The task, labels and prompt of a project."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from annotation.models import Project
from annotation.pipeline.ingest.reference_labels import suggest_labels
from annotation.pipeline.project.configure import LabelDraft

EMPTY_LINES = 3


class TaskForm(forms.Form):
    name = forms.CharField(
        label=_("Project name"),
        max_length=120,
        widget=forms.TextInput(attrs={"placeholder": _("Customer messages, spring"), "autocomplete": "off"}),
    )
    task_type = forms.ChoiceField(
        label=_("What kind of task is it?"), choices=Project.TaskType.choices, widget=forms.RadioSelect
    )


class LabelForm(forms.Form):
    name = forms.CharField(
        label=_("Name"),
        max_length=100,
        required=False,
        widget=forms.TextInput(attrs={"aria-label": _("Name")}),
    )
    description = forms.CharField(
        label=_("Description"),
        max_length=500,
        required=False,
        widget=forms.TextInput(
            attrs={"aria-label": _("Description"), "placeholder": _("What belongs here, in a few words")}
        ),
    )
    key = forms.CharField(
        label=_("Key"),
        max_length=1,
        required=False,
        widget=forms.TextInput(attrs={"aria-label": _("Key"), "size": 2}),
    )

    def draft(self) -> LabelDraft | None:
        """The label typed in this line; None for an empty line."""
        data = self.cleaned_data
        if not (data.get("name") or data.get("description")):
            return None
        return LabelDraft(data["name"], data["description"], data["key"])


LabelFormSet = forms.formset_factory(LabelForm, extra=0, max_num=60, absolute_max=60, validate_max=True)


def label_lines(project: Project) -> list[dict[str, str]]:
    """The project's labels; where there are none yet, the values of the reference column; then some empty lines."""
    lines = [
        {"name": label.name, "description": label.description, "key": label.key}
        for label in project.label_list()
    ]
    if not lines:
        lines = [{"name": name, "description": "", "key": ""} for name in suggest_labels(project)]
    for place, line in enumerate(lines[:9], start=1):
        line["key"] = line["key"] or (str(place) if not project.labels.exists() else "")
    return lines + [{"name": "", "description": "", "key": ""}] * max(1, EMPTY_LINES - len(lines))


def changed_lines(formset: Any, change: str) -> list[dict[str, str]]:
    """The lines as typed, with one more at the end or one taken out."""
    lines = [
        {name: form.cleaned_data.get(name, "") for name in ("name", "description", "key")} for form in formset
    ]
    if change.startswith("remove-"):
        return [line for place, line in enumerate(lines) if str(place) != change.removeprefix("remove-")] or [
            {}
        ]
    return [*lines, {}]


class PromptForm(forms.Form):
    description = forms.CharField(
        label=_("Task description"),
        widget=forms.Textarea(attrs={"rows": 5}),
        max_length=8_000,
        help_text=_("The model's role and task. It comes first and is the same for every row."),
    )
    demonstration = forms.CharField(
        label=_("In-context demonstrations"),
        widget=forms.Textarea(attrs={"rows": 3}),
        max_length=8_000,
        required=False,
        help_text=_(
            "Introduces the labelled examples. In the first round these are random rows that the LLM "
            "labels itself; in later rounds, clean and corrected rows."
        ),
    )
    output = forms.CharField(
        label=_("Output control"),
        widget=forms.Textarea(attrs={"rows": 4}),
        max_length=8_000,
        help_text=_("Shows the row and says how to answer. It comes last."),
    )
