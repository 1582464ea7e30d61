"""Labels that people or other models gave outside CORAL: taken as coarse labels or as corrections."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from annotation.errors import AnnotationError
from annotation.forms.fields import validated
from annotation.forms.given_labels import GivenLabelsForm
from annotation.models import Activity, Project, Role, Upload
from annotation.pipeline.ingest.upload import delete_upload
from annotation.pipeline.label import take_labels as taking
from annotation.pipeline.project import activity
from annotation.pipeline.review import edited_export
from annotation.pipeline.review.given_labels import Taken, take_corrections
from annotation.views.access import MemberRequest, for_members


@for_members(Role.OWNER, "POST", back="annotation:configure_start")
def take_labels(request: MemberRequest, project: Project) -> HttpResponse:
    """Take the labels in columns of the rows as the coarse labels, or as corrections."""
    taken = take_columns(
        project, validated(GivenLabelsForm(request.POST, project=project)), user=request.user
    )
    if taken is None:
        return redirect("annotation:labeling", project.pk)
    messages.success(request, corrected_sentence(taken.rows))
    if taken.unknown:
        sentence = ngettext(
            "%(rows)s row names no label of the project and was left out.",
            "%(rows)s rows name no label of the project and were left out.",
            taken.unknown,
        )
        messages.warning(request, sentence % {"rows": f"{taken.unknown:,}"})
    return redirect("annotation:review", project.pk)


def take_columns(project: Project, form: GivenLabelsForm, *, user: User) -> Taken | None:
    """Take what a valid form names, and write down who did. Returns what became of corrections; None where coarse labels are
    taken in the background.

    Raises:
        AnnotationError: they can't be taken, or several columns of corrections are named.
    """
    data = form.cleaned_data
    columns = data["label_columns"]
    if data["use"] == GivenLabelsForm.COARSE:
        taking.start_taking(project, columns, confidence=data["confidence"], user=user)
        activity.record(project, user=user, verb=Activity.Verb.STARTED, what=", ".join(columns))
        return None
    if len(columns) > 1:
        raise AnnotationError("Choose one column of corrections at a time: a row has one right label.")
    taken = take_corrections(project, columns[0], person=data["person"], user=user)
    what = _("%(column)s (%(rows)s rows)") % {"column": columns[0], "rows": f"{taken.rows:,}"}
    activity.record(project, user=user, verb=Activity.Verb.CORRECTED, what=what)
    return taken


@for_members(Role.OWNER, "POST", back="annotation:configure_data")
def take_edits(request: MemberRequest, project: Project, upload_id: int) -> HttpResponse:
    """Take the labels that were changed in an export as corrections."""
    upload = get_object_or_404(Upload, pk=upload_id, project=project)
    rows = take_edited(upload, with_conflicts="with_conflicts" in request.POST, user=request.user)
    messages.success(request, corrected_sentence(rows))
    return redirect("annotation:review", project.pk)


def take_edited(upload: Upload, *, with_conflicts: bool, user: User) -> int:
    """Take the labels that were changed in an export, write down who did, and forget the file; returns how many rows.

    Raises:
        AnnotationError: the file is no export of this project.
    """
    project = upload.project
    if not edited_export.is_edited_export(project, upload):
        raise AnnotationError(
            "This file is no export of this project. Export again, and change labels there."
        )
    batch = edited_export.take_edits(project, upload, with_conflicts=with_conflicts, user=user)
    rows = len(batch.labels or {})
    activity.record(project, user=user, verb=Activity.Verb.CORRECTED, what=f"{upload.name} ({rows:,})")
    delete_upload(upload)
    return rows


def corrected_sentence(rows: int) -> str:
    return ngettext("%(rows)s row is corrected.", "%(rows)s rows are corrected.", rows) % {
        "rows": f"{rows:,}"
    }
