"""Many rows corrected at once: first how many it would be, then it is done; and taken back as one step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from annotation.errors import AnnotationError
from annotation.forms.fields import is_id, validated
from annotation.models import Activity, Correction, CorrectionBatch, Label, Project, Role
from annotation.pipeline.project import activity
from annotation.pipeline.review import bulk as bulk_correcting
from annotation.pipeline.review.bulk import Choice
from annotation.table.filters import plain_query
from annotation.views.access import MemberRequest, for_members
from annotation.views.frame import page_context

MOST_CHOSEN = 1_000
SHOWN_BATCHES = 5


class BulkForm(forms.Form):
    """Which rows, and which label; no label accepts each row's own."""

    row = forms.TypedMultipleChoiceField(required=False, coerce=int)
    matching = forms.BooleanField(required=False)
    query = forms.CharField(required=False, max_length=2_000)
    label = forms.ModelChoiceField(
        Label.objects.none(), required=False, empty_label=gettext_lazy("accept their current labels")
    )
    include_corrected = forms.BooleanField(required=False)
    same_texts = forms.BooleanField(required=False)

    def __init__(self, data: Any, *, project: Project) -> None:
        super().__init__(data)
        self._project = project
        rows = list(filter(is_id, data.getlist("row")))[:MOST_CHOSEN]
        self.fields["row"].choices = [(row, row) for row in rows]  # type: ignore[attr-defined]
        self.fields["label"].queryset = project.labels.all()  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        wanted = super().clean() or {}
        if not wanted.get("row") and not wanted.get("matching"):
            raise forms.ValidationError(
                _("No row is selected. Select rows, or choose all rows that match the filter.")
            )
        return wanted

    @property
    def choice(self) -> Choice:
        wanted = self.cleaned_data
        return Choice(
            label=wanted["label"],
            samples=None if wanted["matching"] else wanted["row"],
            query=plain_query(self._project, wanted["query"]),
            include_corrected=wanted["include_corrected"],
            same_texts=wanted["same_texts"],
        )


@for_members(Role.REVIEWER, "GET", "POST", back="annotation:review")
def correct_many(request: MemberRequest, project: Project) -> HttpResponse:
    """GET tells how many rows it would change; POST does it."""
    form = validated(BulkForm(request.GET if request.method == "GET" else request.POST, project=project))
    back = reverse("annotation:review", args=[project.pk])
    if form.cleaned_data["query"].startswith("?"):
        back += form.cleaned_data["query"]
    if request.method == "GET":
        context = page_context(request, project, step="review")
        reach = bulk_correcting.measure_reach(project, form.choice)
        context |= {"form": form, "choice": form.choice, "reach": reach, "back": back}
        return render(request, "annotation/review/bulk.html", context)
    batch = correct_batch(project, form.choice, user=request.user)
    messages.success(request, _done(batch))
    return redirect(back)


def correct_batch(project: Project, choice: Choice, *, user: User) -> CorrectionBatch:
    """Correct the rows, and write down who did."""
    batch = bulk_correcting.start_batch(project, choice, user=user)
    _write_down(batch, Activity.Verb.CORRECTED, batch.rows)
    return batch


def undo_correction_batch(batch: CorrectionBatch, *, user: User, role: Role) -> CorrectionBatch:
    """Take a batch back: who made it may, and an owner of the project.

    Raises:
        AnnotationError: the user is neither.
    """
    if batch.user_id != user.pk and role != Role.OWNER:
        raise AnnotationError(
            "Only the person who made these corrections, or an owner of the project, can undo them."
        )
    undo = bulk_correcting.undo_batch(batch, user=user)
    _write_down(undo, Activity.Verb.UNDID, batch.stage.done if batch.stage else batch.corrections.count())
    return undo


def _write_down(batch: CorrectionBatch, verb: Activity.Verb, rows: int) -> None:
    if batch.user:
        what = ngettext("%(rows)d row", "%(rows)d rows", rows) % {"rows": rows}
        activity.record(batch.project, user=batch.user, verb=verb, what=what)


def _done(batch: CorrectionBatch) -> str:
    if batch.stage:
        return _("The rows are being corrected in the background; this page shows the progress.")
    rows = batch.corrections.count()
    if batch.label:
        return ngettext("%(rows)d row is relabelled.", "%(rows)d rows are relabelled.", rows) % {"rows": rows}
    return ngettext("%(rows)d row is accepted.", "%(rows)d rows are accepted.", rows) % {"rows": rows}


@for_members(Role.REVIEWER, "POST", back="annotation:review")
def undo_many(request: MemberRequest, project: Project, batch_id: int) -> HttpResponse:
    batch = get_object_or_404(CorrectionBatch, pk=batch_id, project=project, undoes=None)
    undo = undo_correction_batch(batch, user=request.user, role=request.role)
    if undo.stage:
        messages.success(request, _("The corrections are being undone in the background."))
    else:
        rows = undo.corrections.count()
        words = ngettext(
            "%(rows)d row has its earlier label again.",
            "%(rows)d rows have their earlier labels again.",
            rows,
        )
        messages.success(request, words % {"rows": rows})
    return redirect("annotation:review", project.pk)


@dataclass(frozen=True, slots=True)
class ShownBatch:
    """A line of the list of bulk corrections."""

    batch: CorrectionBatch
    rows: int
    undo: CorrectionBatch | None


def newest_batches(project: Project) -> list[ShownBatch]:
    """The last bulk corrections, each with how many rows it changed; large ones know that from their stage."""
    related = ("user", "label", "stage", "undone_by__stage")
    batches = list(project.correction_batches.filter(undoes=None).select_related(*related)[:SHOWN_BATCHES])
    small = [batch for batch in batches if not batch.stage]
    counted = Correction.objects.filter(batch__in=small).order_by().values_list("batch").annotate(Count("pk"))
    rows = dict(counted)
    return [
        ShownBatch(
            batch,
            batch.stage.done if batch.stage else rows.get(batch.pk, 0),
            getattr(batch, "undone_by", None),
        )
        for batch in batches
    ]
