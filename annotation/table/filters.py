"""Which rows: the filters of the table, of bulk work and of an export, as a form over an address and as a QuerySet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.db.models import CharField, Exists, F, IntegerField, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Coalesce
from django.db.models.lookups import GreaterThan
from django.http import QueryDict
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from annotation.errors import AnnotationError
from annotation.jobs import kinds
from annotation.jobs.details import CertificateDetail
from annotation.models import Prediction, Project, RowMark, Sample, Source, Stage
from annotation.models.sql import among
from annotation.table.filter_fields import NO_LABEL, AreaField, LabelField, LabelOrNoneField, PercentField

SHOWN = {
    "": _("All rows"),
    "right": _("Likely right"),
    "wrong": _("Likely wrong"),
    "inconsistent": _("models disagree"),
    "corrected": _("Corrected by people"),
    "bulk": _("Corrected in bulk"),
    "unlabelled": _("Without a label"),
    "uncertified": _("Not certified"),
    "prompts": _("Look like prompts"),
    "unclear": _("No label fits, or unclear"),
    "colleague": _("For a colleague"),
    "noted": _("With a note"),
}
#: The marks that people put on rows, and what holds of them.
MARKS = {"unclear": Q(unclear=True), "colleague": Q(for_colleague=True), "noted": ~Q(note="")}
#: Why a row has no label of the LLM, by the codes of the stored messages.
FAILURES = {
    "": _("Anything"),
    "refused": _("refused by the model or its provider"),
    "long": _("too long for the model"),
    "other": _("the call failed"),
    "unreadable": _("unreadable answer"),
}
_CODES = {"refused": ("content_filtered", "model_refused"), "long": ("http_413", "row_too_long")}
SOURCES = {
    "": _("Anyone"),
    Source.LLM: _("LLM"),
    Source.SLM: _("SLM"),
    Source.PERSON: _("a person"),
}
DIFFERENCES = {
    "": _("Any"),
    "models": _("LLM and SLM disagree"),
    "person": _("a person and the SLM disagree"),
}
#: The filters that ask for one value of a column.
COLUMNS = {
    "label": "label_id",
    "llm": "llm_label_id",
    "slm": "slm_label_id",
    "by": "corrected_by_id",
    "source": "source",
}


class FilterForm(forms.Form):
    """What may be asked for. Every filter narrows what the others leave."""

    show = forms.ChoiceField(label=_("Show"), required=False, choices=list(SHOWN.items()))
    label = LabelField(_("Label"), _("Any label"))
    source = forms.ChoiceField(label=_("Decided by"), required=False, choices=list(SOURCES.items()))
    llm = LabelOrNoneField(_("LLM label"), _("Anything"))
    slm = LabelField(_("SLM label"), _("Anything"))
    failed = forms.ChoiceField(label=_("No answer, because"), required=False, choices=list(FAILURES.items()))
    differ = forms.ChoiceField(label=_("Disagreement"), required=False, choices=list(DIFFERENCES.items()))
    by = forms.ModelChoiceField(
        User.objects.none(), label=_("Corrected by"), required=False, empty_label=_("Anyone")
    )
    in_round = forms.IntegerField(
        label=_("Judged in round"), required=False, min_value=0, max_value=1_000_000
    )
    min_confidence = PercentField(_("SLM confidence from (%)"))
    max_confidence = PercentField(_("SLM confidence to (%)"))
    area = AreaField(label=_("Area of the map"), required=False, max_length=120, widget=forms.HiddenInput)
    q = forms.CharField(
        label=_("Search texts"),
        required=False,
        max_length=200,
        strip=True,
        widget=forms.TextInput(attrs={"type": "search", "placeholder": _("Search texts")}),
    )

    def __init__(self, data: Any, *, project: Project) -> None:
        super().__init__(data, auto_id="filter-%s")
        self._project = project
        for name in ("label", "llm", "slm"):
            self.fields[name].queryset = project.labels.all()  # type: ignore[attr-defined]
        self.fields["by"].queryset = _people(project)  # type: ignore[attr-defined]

    @property
    def conditions(self) -> Conditions:
        found = conditions_of(self.cleaned_data)
        if self.cleaned_data["show"] == "uncertified":
            found.others.append(Q(position__in=among(uncertified_places(self._project))))
        if area := self.cleaned_data["area"]:
            found.others.append(_in_area(self._project, area))
        return found

    def query(self, **changed: Any) -> str:
        """The same question as an address, with some values changed."""
        names = [name for name in self.fields if name in self.data]
        values = {name: self.data.get(name, "") for name in names} | changed
        kept = {name: value for name, value in values.items() if value not in ("", None)}
        return "?" + urlencode(kept)


def _in_area(project: Project, area: list[float]) -> Q:
    """The rows whose point of the newest judged round lies in a rectangle of the map."""
    left, bottom, right, top = area
    points = Prediction.objects.filter(
        iteration=project.iterations.in_force(),
        source=Prediction.ModelKind.SLM,
        x__range=(left, right),
        y__range=(bottom, top),
    )
    return Q(Exists(points.filter(sample=OuterRef("pk"))))


def uncertified_places(project: Project) -> list[int]:
    """Places in the file of the rows that the newest certificate leaves out; none without a certificate."""
    made = project.stages.filter(kind=kinds.CERTIFICATE.key, status=Stage.Status.DONE).first()
    return CertificateDetail.of(made).others if made else []


def _people(project: Project) -> QuerySet[User]:
    """Members, and those who left and whose corrections stay."""
    # Asked of each user, PostgreSQL would look through all rows for those of another project's people; and without the
    # sum, SQLite would go by the project's index, which holds all rows.
    corrected = Sample.objects.alias(of=F("project") + 0).filter(of=project.pk, corrected_by__gt=0).order_by()
    members = project.memberships.values("user")
    return User.objects.filter(
        Q(pk__in=members) | Q(pk__in=corrected.values("corrected_by").distinct())
    ).order_by("username")


# --- From what was asked to rows ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Conditions:
    """What must hold of a row.

    Attributes:
        equal: columns that have this value; None means that they have none.
        confidence: the least and the greatest confidence of the SLM, or None where nothing is asked.
        others: everything else, none of which an index answers.
    """

    equal: dict[str, Any] = field(default_factory=dict)
    confidence: tuple[float | None, float | None] = (None, None)
    others: list[Q] = field(default_factory=list)
    contradict: bool = False

    def require(self, column: str, value: Any) -> None:
        self.contradict |= column in self.equal and self.equal[column] != value
        self.equal[column] = value

    @property
    def needs_search(self) -> bool:
        """Whether rows have to be looked at that may not match, in whatever order."""
        return self != Conditions()

    def apply(self, rows: QuerySet[Sample]) -> QuerySet[Sample]:
        if self.contradict:
            return rows.none()
        return rows.filter(*self.others, *_bounds("confidence", self.confidence), **self.equal)

    def apply_in_order(self, rows: QuerySet[Sample], *, indexed: Mapping[str, Any]) -> QuerySet[Sample]:
        """The same rows, but put so that the database can use an index for the columns ``indexed`` only: which way it
        goes through the rows is decided by whoever orders them, and not by its guess of how many match."""
        if self.contradict:
            return rows.none()
        for column, value in self.equal.items():
            if column not in indexed:
                rows = _compare_unindexed(rows, column, value)
        rows = rows.alias(seen_confidence=Coalesce("confidence", -1.0))
        return rows.filter(*self.others, *_bounds("seen_confidence", self.confidence), **indexed)


def flag_conditions(flag: str) -> Conditions:
    """The rows of a flag that no person has decided."""
    return Conditions(equal={"flag": flag}, others=[~Q(source=Source.PERSON)])


def _bounds(name: str, bounds: tuple[float | None, float | None]) -> list[Q]:
    least, most = bounds
    found = [] if least is None else [Q(**{f"{name}__gte": least})]
    return found if most is None else [*found, Q(**{f"{name}__lte": most, f"{name}__gte": least or 0.0})]


def _compare_unindexed(rows: QuerySet[Sample], column: str, value: Any) -> QuerySet[Sample]:
    nothing, kind = ("-", CharField()) if isinstance(value, str) else (-1, IntegerField())
    seen = Coalesce(column, Value(nothing), output_field=kind)
    return rows.alias(**{f"seen_{column}": seen}).filter(
        **{f"seen_{column}": nothing if value is None else value}
    )


def failure(why: str) -> Q:
    """The answers of the LLM that are missing for this reason, a key of :data:`FAILURES`."""
    if why == "unreadable":
        return Q(error="")
    known = {
        key: Q(*(("error__contains", code) for code in codes), _connector=Q.OR)
        for key, codes in _CODES.items()
    }
    return known[why] if why in known else ~Q(error="") & ~known["refused"] & ~known["long"]


def conditions_of(wanted: Mapping[str, Any]) -> Conditions:
    """The conditions that a valid form's ``cleaned_data`` stand for."""
    found = Conditions()
    for name, column in COLUMNS.items():
        if wanted[name] == NO_LABEL:
            found.require(column, None)
        elif wanted[name]:
            found.require(column, getattr(wanted[name], "pk", wanted[name]))
    if wanted["in_round"] is not None:
        found.require("round", wanted["in_round"])
    show = wanted["show"]
    if show == "corrected":
        found.require("source", Source.PERSON)
    elif show == "bulk":  # written so that no index answers it: it leads to all such rows, in no order
        found.others.append(Q(GreaterThan(Coalesce("batch_id", Value(0)), 0)))
    elif show == "unlabelled":
        found.require("label_id", None)
    elif show == "prompts":
        found.others.append(Q(prompt_like=True))
    elif show in MARKS:
        found.others.append(Q(Exists(RowMark.objects.filter(MARKS[show], sample=OuterRef("pk")))))
    elif show and show != "uncertified":
        found.require("flag", show)
        found.others.append(~Q(source=Source.PERSON))
    found.confidence = tuple(  # type: ignore[assignment]
        None if wanted[name] is None else wanted[name] / 100 for name in ("min_confidence", "max_confidence")
    )
    if wanted["failed"]:
        found.require("llm_label_id", None)
        answers = Prediction.objects.filter(source=Prediction.ModelKind.LLM, label=None)
        found.others.append(Q(Exists(answers.filter(failure(wanted["failed"]), sample=OuterRef("pk")))))
    if wanted["differ"] == "models":
        found.others.append(~Q(llm_label=F("slm_label")))
    elif wanted["differ"] == "person":
        found.others.append(Q(source=Source.PERSON) & ~Q(label=F("slm_label")))
    if wanted["q"]:
        found.others.append(Q(text__icontains=wanted["q"]))
    return found


def filter_rows(project: Project, query: str) -> QuerySet[Sample]:
    """The project's rows that a filter's address (``llm=3&slm=4``) asks for, unsorted, for work in the background.

    Raises:
        AnnotationError: see :func:`stored_conditions`.
    """
    return stored_conditions(project, query).apply(project.samples.order_by())


def stored_conditions(project: Project, query: str) -> Conditions:
    """What a filter's address asks for.

    Raises:
        AnnotationError: the filter asks for something that the project doesn't have, such as a label that was removed.
    """
    form = FilterForm(QueryDict(query.lstrip("?")), project=project)
    if not form.is_valid():
        raise AnnotationError(
            "This filter no longer fits the project: %(what)s. Set it again in the table.",
            what=", ".join(str(form.fields[name].label) for name in form.errors),
        )
    return form.conditions


def plain_query(project: Project, query: str) -> str:
    """A filter's address without what is no filter (the order, the place in the pages), or an empty string."""
    form = FilterForm(QueryDict(query.lstrip("?")), project=project)
    return form.query()[1:] if form.is_valid() else ""
