"""Take back what an unfinished import stored: an import is all or nothing to the project."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Max

from annotation.errors import BusyError
from annotation.jobs import kinds, state
from annotation.jobs.details import ImportDetail
from annotation.jobs.work import Job
from annotation.models import Project, Sample, Stage, Upload
from annotation.pipeline.ingest.import_report import ImportReport, clear_report

REMOVE_ROWS = 5_000


def cancel_import(stage: Stage) -> None:
    """Cancel an import wherever it stands, and take back the rows that it stored (a running one does so itself)."""
    state.request_cancel(stage)
    if stage.status == Stage.Status.CANCELLED:
        discard_import(stage)


def discard_import(stage: Stage, job: Job[ImportDetail] | None = None) -> None:
    """Remove the rows that an unfinished import stored. Resuming it then begins with the first row.

    Args:
        job: the worker's hold on the stage; None where nobody is at work on it.
    """
    upload = Upload.objects.filter(pk=ImportDetail.of(stage).upload).first()
    if upload is None:
        return
    report = ImportReport.of(upload)
    if report.finished:
        return
    if report.start_position is not None:
        rows = Sample.objects.filter(project=stage.project_id, position__gte=report.start_position)
        while (last := rows.aggregate(last=Max("position"))["last"]) is not None:
            _remove(rows.filter(position__gt=last - REMOVE_ROWS), job)
    with transaction.atomic():
        if job:
            job.lease.fence()
        clear_report(upload)
    if job:
        job.progress.report(done=0)
    else:
        Stage.objects.filter(pk=stage.pk).update(done=0)
        stage.done = 0


def check_no_leftovers(project: Project) -> None:
    """Refuse to go on while an import is only half done.

    Raises:
        BusyError: an import was broken off and left rows behind.
    """
    for stage in leftovers(project):
        raise BusyError(
            "The import of “%(file)s” was interrupted. Resume or cancel it first.",
            file=ImportDetail.of(stage).file,
        )


def leftovers(project: Project) -> list[Stage]:
    """Imports that ended with rows stored and others missing."""
    ended = project.stages.filter(
        kind=kinds.IMPORT.key, status__in=[Stage.Status.FAILED, Stage.Status.CANCELLED]
    )
    reports = dict(Upload.objects.filter(project=project).values_list("pk", "report"))
    return [stage for stage in ended if _is_half(reports.get(ImportDetail.of(stage).upload, {}))]


def _is_half(report: dict[str, Any]) -> bool:
    return bool(report.get("imported")) and not report.get("finished")


def _remove(rows: Any, job: Job[ImportDetail] | None) -> None:
    with transaction.atomic():
        if job:
            job.lease.fence()
        rows.delete()
