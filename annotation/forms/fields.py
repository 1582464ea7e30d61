"""Forms only check and clean what a person typed; what is done with it stands in the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.models import User
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from annotation.files.records import TEXT_FORMATS
from annotation.files.text.delimiters import DELIMITERS, QUOTES
from annotation.files.text.encodings import ENCODINGS
from annotation.models import Correction, Iteration, Label, Project, Role
from annotation.pipeline.project.configure import LabelDraft


def sentence_of(form: forms.Form) -> str:
    """All that is wrong with a form, as one text, for pages that do not show the form again: fields that a person sees are
    named, for Django's own sentences don't say which one they are of."""
    found = []
    for name, errors in form.errors.items():
        label = form.fields[name].label if name in form.fields else None
        for error in errors:
            found.append(
                gettext("%(what)s: %(value)s") % {"what": label, "value": error} if label else str(error)
            )
    return " ".join(found)


def is_id(text: str) -> bool:
    """Whether a text from an address can be a row's id; a longer number is more than a database can hold."""
    return text.isdecimal() and len(text) < 19


class TaskForm(forms.Form):
    name = forms.CharField(
        label=_("Project name"),
        max_length=120,
        widget=forms.TextInput(attrs={"placeholder": _("Customer messages, spring"), "autocomplete": "off"}),
    )
    task_type = forms.ChoiceField(
        label=_("What kind of task is it?"), choices=Project.TaskType.choices, widget=forms.RadioSelect
    )


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
        label=_("CSV, Excel (.xlsx), JSON lines or Parquet"),
        required=False,
        allow_empty_file=True,  # the reader refuses it, with the file's name
        help_text=_(
            "The first row holds the column names. One row is one thing to label. You may choose several."
        ),
        widget=FilesInput(attrs={"accept": ".csv,.tsv,.txt,.xlsx,.jsonl,.json,.parquet,.gz"}),
    )
    text = forms.CharField(
        label=_("Or paste it here"),
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 5, "spellcheck": "false"}),
    )
    pasted = forms.ChoiceField(
        label=_("What was pasted"),
        required=False,
        choices=[("lines", _("one text a line")), ("table", _("a table with column names, such as CSV"))],
        initial="lines",
    )
    delimiter = _character_field(_("Separator"), [AUTOMATIC, *_offered(DELIMITERS)])
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
                    "A separator and quotes belong to a table: say that a table was pasted, or choose “automatic” for them."
                )
            )
        return data


#: Where the column names stand: the filled row, counted from 1, or nowhere.
HEADER_ROWS: list[tuple[Any, Any]] = [
    (1, _("in the first row")),
    *((row, format_lazy(_("in row {row}, empty ones aside"), row=row)) for row in range(2, 11)),
    (0, _("nowhere")),
]


class ReadingForm(forms.Form):
    """How an uploaded file is to be read, where the guess is wrong."""

    encoding = forms.ChoiceField(label=_("Encoding"), required=False)
    delimiter = forms.ChoiceField(label=_("Separator"), required=False)
    quote = _character_field(_("Quotes"))
    sheet = forms.ChoiceField(label=_("Sheet"), required=False)

    header = forms.TypedChoiceField(label=_("Column names"), required=False, coerce=int, empty_value=None)
    replace_bad = forms.BooleanField(label=_("Replace bytes that do not fit"), required=False)
    fill_merged = forms.BooleanField(label=_("Fill merged cells"), required=False)

    def __init__(self, *args: Any, reading: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kind = reading["format"]
        self._keep_flag("replace_bad", kind in TEXT_FORMATS, reading)
        self._keep_flag("fill_merged", kind == "xlsx", reading)
        choices = {
            "encoding": list(ENCODINGS.items()) if kind in TEXT_FORMATS else [],
            "header": HEADER_ROWS if kind in ("csv", "xlsx") else [],
            "delimiter": list(DELIMITERS.items()) if kind == "csv" else [],
            "quote": _offered(QUOTES) if kind == "csv" else [],
            "sheet": [(sheet["name"], sheet["name"]) for sheet in reading["sheets"]]
            if kind == "xlsx"
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


class PromptForm(forms.Form):
    description = forms.CharField(
        label=_("Task description"),
        widget=forms.Textarea(attrs={"rows": 5}),
        max_length=8_000,
        help_text=_("Who the model is and what it shall do. Stands first, the same for every row."),
    )
    demonstration = forms.CharField(
        label=_("In-context demonstrations"),
        widget=forms.Textarea(attrs={"rows": 3}),
        max_length=8_000,
        required=False,
        help_text=_(
            "How labelled examples are introduced. In the first round the model labels a few random rows itself; "
            "later the clean and corrected ones are shown."
        ),
    )
    output = forms.CharField(
        label=_("Output control"),
        widget=forms.Textarea(attrs={"rows": 4}),
        max_length=8_000,
        help_text=_("Shows the row and says how to answer. Stands last."),
    )


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
            "That label is not one of this project's. Reload the page and choose again."
        )


class RoundForm(forms.Form):
    started_from = forms.ChoiceField(choices=Iteration.Start.choices)
    ask_all = forms.BooleanField(required=False)


class ExportForm(forms.Form):
    FORMATS = [
        ("xlsx", _("Excel (.xlsx)")),
        ("csv", _("CSV")),
        ("jsonl", _("JSON lines")),
        ("parquet", _("Parquet")),
    ]
    ROWS = [("", _("All rows")), ("sure", _("Only rows whose label is surely enough right"))]

    format = forms.ChoiceField(label=_("Format"), choices=FORMATS, widget=forms.RadioSelect, initial="xlsx")
    rows = forms.ChoiceField(label=_("Rows"), required=False, choices=ROWS, widget=forms.RadioSelect)
    certainty = forms.FloatField(
        label=_("Right with a probability of at least, %"),
        required=False,
        min_value=0,
        max_value=100,
        initial=95,
        help_text=_("Rows that people decided are always in; rows that no small model has judged never."),
        widget=forms.NumberInput(attrs={"min": 0, "max": 100, "step": "any", "inputmode": "decimal"}),
    )
    query = forms.CharField(required=False, max_length=2000, widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if data.get("rows") != "sure":
            data["certainty"] = None
        elif data.get("certainty") is None and "certainty" not in self.errors:
            self.add_error("certainty", _("Say how probable it must be that a row's label is right."))
        return data

    @property
    def share(self) -> float | None:
        """The certainty as a share."""
        certainty = self.cleaned_data["certainty"]
        return None if certainty is None else certainty / 100


class MemberForm(forms.Form):
    username = forms.CharField(
        label=_("User name"), max_length=150, widget=forms.TextInput(attrs={"autocomplete": "off"})
    )
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices, initial=Role.REVIEWER)

    def clean_username(self) -> User:
        name = self.cleaned_data["username"]
        user = User.objects.filter(username=name, is_active=True).first()
        if user is None:
            raise forms.ValidationError(
                _(
                    "There is no account named “%(name)s”. Invite the person by link: it makes an account, too."
                )
                % {"name": name}
            )
        return user


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=Role.choices)


class SignupForm(UserCreationForm):  # type: ignore[type-arg]
    class Meta(UserCreationForm.Meta):
        model = User
        fields = ("username",)


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
            "That label is not one of this project's. Reload the page and choose again."
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
            raise forms.ValidationError(_("The ids of the rows must be numbers between commas."))
        return {int(part) for part in parts}


class InvitationForm(forms.Form):
    role = forms.ChoiceField(
        label=_("Role"),
        choices=[(Role.REVIEWER.value, Role.REVIEWER.label), (Role.VIEWER.value, Role.VIEWER.label)],
    )
    days = forms.IntegerField(label=_("Holds for (days)"), min_value=1, max_value=90, initial=7)
    once = forms.BooleanField(
        label=_("For one person only"),
        required=False,
        initial=True,
        help_text=_("Otherwise everybody who gets the link can join, until it expires or is revoked."),
    )


class TeamForm(forms.Form):
    guidelines = forms.CharField(
        label=_("Guidelines"),
        widget=forms.Textarea(attrs={"rows": 14}),
        max_length=50_000,
        required=False,
        help_text=_("Markdown: # headings, * lists, **bold**, tables. Shown beside every row."),
    )
    second_percent = forms.IntegerField(
        label=_("Rows that a second person answers too (percent)"),
        min_value=0,
        max_value=100,
        help_text=_("They answer without seeing anybody's label. How often people agree is measured by it."),
    )


class AuditForm(forms.Form):
    rows = forms.IntegerField(label=_("Random rows"), min_value=10, max_value=5_000)


class TargetForm(forms.Form):
    target = forms.FloatField(min_value=0.5, max_value=0.999)
