"""The second step of the configuration: upload a file, say what its columns mean, import it."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack

from django.contrib import messages
from django.core.files.base import ContentFile, File
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from annotation.errors import AnnotationError
from annotation.files.writers import write_csv_rows
from annotation.forms.column_roles import MappingForm
from annotation.forms.fields import sentence_of
from annotation.forms.upload import ReadingForm, UploadForm
from annotation.jobs import kinds
from annotation.jobs.details import ImportDetail
from annotation.live import stage_status
from annotation.models import Activity, Project, Role, Stage, Upload
from annotation.pipeline.ingest import import_report, start_import
from annotation.pipeline.ingest.column_roles import guess_roles
from annotation.pipeline.ingest.upload import (
    ReadingChoice,
    delete_upload,
    read_preview,
    shown_name,
    store_upload,
    waiting_uploads,
)
from annotation.pipeline.project import activity
from annotation.pipeline.review import edited_export
from annotation.views.access import MemberRequest, for_members
from annotation.views.export.downloads import Download
from annotation.views.project.wizard import wizard_context

PREVIEW_ROWS = 8
SHOWN_LEFT_OUT = 100


@for_members(Role.OWNER, "GET")
def configure_data(request: MemberRequest, project: Project) -> HttpResponse:
    stage = project.stages.filter(kind=kinds.IMPORT.key).first()
    context = wizard_context(
        request,
        project,
        step="configure_data",
        form=UploadForm(),
        rows=project.samples.count(),
        waiting=waiting_uploads(project),
    )
    if stage:
        upload = _upload_of(project, stage)
        left_out = import_report.ImportReport.of(upload).rows[:SHOWN_LEFT_OUT] if upload else []
        context |= stage_status.stage_context(stage) | {
            "upload": upload,
            "left_out": left_out,
            # Nothing to read before going on: every row of the first file is in, and the page has seen it happen.
            "lead_on": bool(request.htmx) and not project.labels.exists() and _is_clean(upload),
            "earlier": [
                (each, import_report.stored_summary(each.report))
                for each in import_report.finished_uploads(project)
                if each != upload
            ],
        }
    return render(request, "annotation/ingest/configure_data.html", context)


def _is_clean(upload: Upload | None) -> bool:
    """Whether an import left nothing to say."""
    report = upload.report if upload else {}
    return bool(report) and report.get("read") == report.get("imported") and not report.get("warnings")


def _upload_of(project: Project, stage: Stage) -> Upload | None:
    return project.uploads.filter(pk=ImportDetail.of(stage).upload).first()


@for_members(Role.OWNER, "POST", back="annotation:configure_data")
def upload_file(request: MemberRequest, project: Project) -> HttpResponse:
    return store_files(request, project)


def store_files(request: MemberRequest, project: Project) -> HttpResponse:
    """Store what was sent, and lead to the preview of the first file, or back with what is wrong."""
    form = UploadForm(request.POST, request.FILES)
    if not form.is_valid():
        messages.error(request, sentence_of(form))
        return redirect("annotation:configure_data", project.pk)
    stored = []
    for file, reading in _sent(form):
        try:
            stored.append(store_upload(project, file, request.user, **reading))
        except AnnotationError as error:
            sentence = _("“%(name)s” was rejected: %(why)s")
            messages.error(request, sentence % {"name": shown_name(file.name or ""), "why": error})
    if not stored:
        return redirect(f"{reverse('annotation:configure_data', args=[project.pk])}?refused=yes")
    return redirect("annotation:configure_columns", project.pk, stored[0].pk)


def _sent(form: UploadForm) -> Iterator[tuple[File[bytes], dict[str, Any]]]:
    """The files and the pasted text, each with how it is to be read."""
    data = form.cleaned_data
    as_table = {"delimiter": data["delimiter"], "quote": data["quote"]}
    for file in data["file"]:
        yield file, as_table
    if data["text"].strip():
        pasted = ContentFile(data["text"].encode("utf-8", "replace"), name=_("pasted text"))
        yield pasted, as_table if data["pasted"] == "table" else {"one_text_a_line": True}


@for_members(Role.OWNER, "POST", back="annotation:configure_data")
def remove_upload(request: MemberRequest, project: Project, upload_id: int) -> HttpResponse:
    """Forget a file that nobody has begun to import."""
    upload = get_object_or_404(Upload, pk=upload_id, project=project)
    if upload in waiting_uploads(project):
        delete_upload(upload)
    return redirect("annotation:configure_data", project.pk)


@for_members(Role.OWNER, "GET", "POST", back="annotation:configure_data")
def configure_columns(request: MemberRequest, project: Project, upload_id: int) -> HttpResponse:
    """How the file is read (changeable), its first rows, and what its columns mean."""
    upload = get_object_or_404(Upload, pk=upload_id, project=project)
    if "first_row" in request.POST:
        return _read_again(request, upload, header=int(request.POST["first_row"] == "names"))
    if "read" in request.POST:
        return _change_reading(request, upload)
    preview = read_preview(upload)
    if edited_export.is_edited_export(project, upload):
        return _edited_page(request, project, upload)
    others = [each for each in waiting_uploads(project) if each.pk != upload.pk]
    alike = [each for each in others if set(each.columns) == set(upload.columns)]
    form = MappingForm(
        request.POST if request.method == "POST" else None,
        preview=preview,
        is_table=project.task.student == "table",
        alike=[(each.pk, each.name) for each in alike],
        together=[each.pk for each in alike if each.pk > upload.pk],
        initial=guess_roles(project, preview.columns),
    )
    if request.method == "POST" and form.is_valid():
        then = [each for each in alike if str(each.pk) in form.cleaned_data.get("then", ())]
        try:
            start_import.start_import(
                project,
                upload,
                form.roles(),
                user=request.user,
                choices=form.choices(),
                then=then,
            )
        except AnnotationError as error:
            form.add_error(None, str(error))
        else:
            activity.record(
                project,
                user=request.user,
                verb=Activity.Verb.UPLOADED,
                what=", ".join([upload.name, *(each.name for each in then)]),
            )
            return redirect("annotation:configure_data", project.pk)
    context = wizard_context(
        request,
        project,
        step="configure_data",
        form=form,
        upload=upload,
        preview=preview,
        preview_rows=preview.rows[:PREVIEW_ROWS],
        reading_form=ReadingForm(reading=upload.reading),
        unlike=[each for each in others if each not in alike],
    )
    return render(
        request, "annotation/ingest/configure_columns.html", context, status=400 if form.errors else 200
    )


def _edited_page(request: MemberRequest, project: Project, upload: Upload) -> HttpResponse:
    """An export of this project that came back: its changed labels, to be taken as corrections."""
    context = wizard_context(
        request,
        project,
        step="configure_data",
        upload=upload,
        edits=edited_export.read_edits(project, upload),
        most=edited_export.SHOWN_CHANGES,
    )
    return render(request, "annotation/ingest/edited_export.html", context)


@for_members(Role.VIEWER, "GET")
def left_out_rows(request: MemberRequest, project: Project, upload_id: int) -> Download:
    """Every row of a file that was not imported, and why, as CSV."""
    upload = get_object_or_404(Upload, pk=upload_id, project=project)
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the answer closes it
    text = io.TextIOWrapper(file, "utf-8-sig", newline="", write_through=True)
    write_csv_rows(
        text,
        ["line", "outcome", "reason"],
        ((line, outcome, str(why)) for line, outcome, why in import_report.left_out_rows(upload)),
    )
    text.detach()
    file.seek(0)
    return Download(file, filename=f"left-out-of-{Path(upload.name).stem}.csv")


def _change_reading(request: MemberRequest, upload: Upload) -> HttpResponse:
    form = ReadingForm(request.POST, reading=upload.reading)
    if not form.is_valid():
        messages.error(
            request, _("These reading options are not available for this file; choose from the lists.")
        )
        return redirect("annotation:configure_columns", upload.project_id, upload.pk)
    chosen = {
        name: value
        for name, value in form.cleaned_data.items()
        if value is not None and value != upload.reading.get(name)
    }
    return _read_again(request, upload, **chosen)


def _read_again(request: MemberRequest, upload: Upload, **chosen: Unpack[ReadingChoice]) -> HttpResponse:
    try:
        read_preview(upload, **chosen)
    except AnnotationError as error:
        messages.error(request, str(error))
    return redirect("annotation:configure_columns", upload.project_id, upload.pk)
