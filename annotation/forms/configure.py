"""The task, labels and prompt of a project."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from annotation.models import Label, Project
from annotation.pipeline.ingest.reference_labels import suggest_labels
from annotation.pipeline.project.configure import MANY_LABELS, LabelDraft

EMPTY_LINES = 3
LINE_CHARACTERS = 2_000


class TaskForm(forms.Form):
    name = forms.CharField(
        label=_("Project name"),
        max_length=120,
        widget=forms.TextInput(
            attrs={"placeholder": _("Customer messages, spring"), "autocomplete": "off", "autofocus": True}
        ),
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
    label = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def draft(self) -> LabelDraft | None:
        """The label typed in this line; None for an empty line."""
        data = self.cleaned_data
        if not (data.get("name") or data.get("description")):
            return None
        return LabelDraft(data["name"], data["description"], data["key"], data["label"])


class LabelLines(forms.BaseFormSet):  # type: ignore[type-arg]
    def drafts(self, change: str = "") -> list[LabelDraft]:
        """The labels typed, without the line that ``change`` removes, such as ``remove-3`` the fourth."""
        kept = (form for place, form in enumerate(self) if change != f"remove-{place}")
        return [draft for form in kept if (draft := form.draft())]


LabelFormSet = forms.formset_factory(
    LabelForm, LabelLines, extra=0, max_num=MANY_LABELS, absolute_max=MANY_LABELS, validate_max=True
)


def label_drafts(project: Project) -> list[LabelDraft]:
    """The project's labels; where there are none yet, the values of the reference column."""
    if labels := project.label_list():
        return [LabelDraft(label.name, label.description, label.key, label.pk) for label in labels]
    names = suggest_labels(project).names
    return [
        LabelDraft(name, key=str(place) if place < 10 else "") for place, name in enumerate(names, start=1)
    ]


class LabelListForm(forms.Form):
    """Labels as a list that can be pasted."""

    label_list = forms.CharField(
        label=_("One label per line"),
        strip=False,
        required=False,
        widget=forms.Textarea(attrs={"rows": 20, "spellcheck": "false", "class": "mono"}),
        help_text=_(
            "Name, description and key, separated by tabs or commas, such as a copied part of a spreadsheet. "
            "Description and key can be left out. At most 1,000 labels; more than 60 are always edited as a list."
        ),
    )

    def drafts(self, change: str = "") -> list[LabelDraft]:
        return self.cleaned_data["label_list"]  # type: ignore[no-any-return]

    def clean_label_list(self) -> list[LabelDraft]:
        """The labels in their order, empty lines left out."""
        drafts = []
        for number, line in enumerate(self.cleaned_data["label_list"].splitlines(), start=1):
            if not line.strip():
                continue
            if len(line) > LINE_CHARACTERS:
                raise forms.ValidationError(_("Line %(line)s is too long to be a label.") % {"line": number})
            draft = _draft_of(line)
            for name, value in (("name", draft.name), ("description", draft.description), ("key", draft.key)):
                most = LabelForm.base_fields[name].max_length  # type: ignore[attr-defined]
                if len(value) > most:
                    raise forms.ValidationError(
                        _("Line %(line)s, %(name)s: “%(value)s” is too long. Characters allowed: %(most)s.")
                        % {
                            "line": number,
                            "value": value[:60],
                            "most": most,
                            "name": LabelForm.base_fields[name].label,
                        }
                    )
            drafts.append(draft)
        return drafts


def _draft_of(line: str) -> LabelDraft:
    """The label in a line. Between commas, all but the first cell and a last one of one character is the description."""
    separator = next((mark for mark in ("\t", ",", "，") if mark in line), ",")
    cells = [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True))]
    name, *rest = cells
    has_key = len(rest) > 1 and (separator == "\t" or len(rest[-1]) <= 1)
    key = rest.pop() if has_key else ""
    return LabelDraft(name, f"{separator.strip()} ".join(filter(None, rest)), key)


def written_list(drafts: Iterable[LabelDraft]) -> str:
    """The labels as lines that :class:`LabelListForm` reads as the same labels."""
    lines = io.StringIO()
    writer = csv.writer(lines, delimiter="\t", lineterminator="\n")
    writer.writerows((draft.name, draft.description, draft.key) for draft in drafts)
    return lines.getvalue()


def label_form(drafts: Sequence[LabelDraft], change: str = "") -> Any:
    """Lines to edit these labels in, or a list, where ``change`` asks for one or there are many."""
    if change == "list" or len(drafts) >= MANY_LABELS:
        return LabelListForm(initial={"label_list": written_list(drafts)})
    empty = max(1, EMPTY_LINES - len(drafts))
    return LabelFormSet(initial=[*map(asdict, drafts), *[{}] * empty], prefix="labels")


class MergeForm(forms.Form):
    """A label that becomes another one, or none."""

    label = forms.ModelChoiceField(label=_("Label"), queryset=Label.objects.none())
    into = forms.ModelChoiceField(
        label=_("Merge into"),
        queryset=Label.objects.none(),
        required=False,
        empty_label=_("none: delete it"),
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("label", "into"):
            self.fields[name].queryset = project.labels.order_by("position")  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if data.get("label") and data["label"] == data.get("into"):
            raise forms.ValidationError(_("A label can't be merged into itself. Choose another one."))
        return data


class ReferenceForm(forms.ModelForm):  # type: ignore[type-arg]
    """How rows count whose reference label is none of the project's labels."""

    class Meta:
        model = Project
        fields = ("unknown_references",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["unknown_references"].required = False  # asked only where there is a reference column


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
