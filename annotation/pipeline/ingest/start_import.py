"""Import a file: check the mapping, stream its rows into samples, and tell of every row what became of it.

An import is all or nothing to the project, row by row to the person: rows are stored in batches together with the
report of the same batch, so a killed import goes on exactly where it stopped; an import that fails or is cancelled
takes back what it had stored. Read = imported + duplicates + rejected, always.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from django.contrib.auth.models import User
from django.db import transaction

from annotation.errors import BusyError, InvalidFileError
from annotation.jobs import kinds, state
from annotation.jobs.details import ImportDetail
from annotation.jobs.work import Job
from annotation.models import Project, Stage, Upload
from annotation.pipeline.ingest.column_roles import (
    DEFAULT_CHOICES,
    ColumnRoles,
    ImportChoices,
    check_roles,
    check_same_columns,
    check_same_roles,
    columns_kept,
)
from annotation.pipeline.ingest.discard_import import discard_import, leftovers
from annotation.pipeline.ingest.import_report import clear_report
from annotation.pipeline.ingest.run_import import ImportAttempt
from mlcore.errors import StoppedError


def start_import(
    project: Project,
    upload: Upload,
    roles: ColumnRoles,
    *,
    user: User | None,
    choices: ImportChoices = DEFAULT_CHOICES,
    then: Sequence[Upload] = (),
) -> Stage:
    """Check the roles of the columns, and queue the import.

    Into an empty project the roles go with the file; a later file must have the same columns (in any order) and
    the same roles. What an earlier import left unfinished is removed first.

    Args:
        then: further uploads with the same columns, to be imported one after the other in the same way.

    Raises:
        InvalidFileError: the roles do not fit the file or the project.
        BusyError: another stage of the project is at work.
    """
    for file in (upload, *then):
        check_roles(file, roles)
        check_same_columns(upload, file)
    if project.stages.active().filter(kind__in=kinds.keys(lambda kind: not kind.only_reads)).exists():
        raise BusyError(state.ANOTHER_AT_WORK)
    for leftover in leftovers(project):
        discard_import(leftover)
    with transaction.atomic():
        stage = state.create_stage(
            project,
            kinds.IMPORT,
            user=user,
            detail=ImportDetail(
                upload=upload.pk,
                file=upload.name,
                then=[file.pk for file in then],
                **asdict(choices),
            ),
        )
        values = {name: value for name, value in asdict(roles).items() if value is not None}
        columns = columns_kept(upload, roles)
        if project.samples.exists():
            check_same_roles(project, columns, roles)
        else:
            values["columns"] = columns
        Project.objects.filter(pk=project.pk).update(**values)
        clear_report(upload)
    project.refresh_from_db()
    upload.refresh_from_db()
    return stage


def run_import(job: Job[ImportDetail]) -> None:
    """Stream the upload's rows into samples, batch by batch, under the lease's fence.

    Repeating it is safe at any point: the report of the rows stored is written in the transaction that stores them.

    Raises:
        InvalidFileError: the file can't be imported; nothing of it stays in the project.
        StoppedError: a person asked to pause (rows stay) or cancel (they go), or the worker is going.
    """
    upload = Upload.objects.select_related("project").get(pk=job.progress.detail.upload)
    job.progress.report(phase="reading", force=True)
    try:
        ImportAttempt(job, upload).run()
    except InvalidFileError:
        discard_import(job.stage, job)
        raise
    except StoppedError:
        if job.lease.owned().filter(requested_action=Stage.RequestedAction.CANCEL).exists():
            discard_import(job.stage, job)
        raise


def import_next(stage: Stage) -> None:
    """Queue the import of the next file that was uploaded together with this one."""
    project, detail = stage.project, ImportDetail.of(stage)
    waiting = {each.pk: each for each in project.uploads.filter(pk__in=detail.then, report={})}
    queue = [waiting[pk] for pk in detail.then if pk in waiting]
    if not queue:
        return
    start_import(
        project,
        queue[0],
        ColumnRoles.of(project),
        user=stage.requested_by,
        choices=ImportChoices.stored(detail),
        then=queue[1:],
    )
