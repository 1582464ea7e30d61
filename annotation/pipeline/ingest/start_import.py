"""Import a file: check the mapping, stream its rows into samples, and tell of every row what became of it.

An import is all or nothing to the project, row by row to the person: rows are stored in batches together with the
report of the same batch, so a killed import goes on exactly where it stopped; an import that fails or is cancelled
takes back what it had stored. Read = imported + duplicates + rejected, always.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from django.contrib.auth.models import User
from django.db import transaction

from annotation.errors import BusyError, InvalidFileError
from annotation.jobs import kinds, state
from annotation.jobs.details import ImportDetail
from annotation.jobs.work import Job
from annotation.models import Project, Stage, Upload
from annotation.pipeline.ingest.column_roles import (
    ImportChoices,
    OnBadRow,
    check_column_kinds,
    check_mapping,
    check_same_columns,
    check_same_mapping,
)
from annotation.pipeline.ingest.discard_import import (
    cancel_import,
    check_no_leftovers,
    discard_import,
    leftovers,
)
from annotation.pipeline.ingest.import_report import ImportReport, clear_report
from annotation.pipeline.ingest.reference_labels import match_references, suggest_labels
from annotation.pipeline.ingest.run_import import ImportAttempt
from annotation.pipeline.ingest.upload import (
    Preview,
    delete_upload,
    file_limits,
    read_preview,
    shown_name,
    store_upload,
    waiting_uploads,
)
from mlcore.errors import StoppedError

__all__ = [
    "ImportReport",
    "Preview",
    "cancel_import",
    "check_no_leftovers",
    "delete_upload",
    "discard_import",
    "file_limits",
    "match_references",
    "read_preview",
    "run_import",
    "shown_name",
    "start_import",
    "store_upload",
    "suggest_labels",
    "waiting_uploads",
]


# --- Start --------------------------------------------------------------------------------------------------------


def start_import(
    project: Project,
    upload: Upload,
    *,
    content_columns: Sequence[str],
    id_column: str = "",
    reference_column: str = "",
    column_kinds: Mapping[str, str] | None = None,
    user: User | None,
    on_bad_row: OnBadRow = "skip",
    keep_duplicates: bool = False,
    keep_empty: bool = False,
    then: Sequence[Upload] = (),
) -> Stage:
    """Check how the columns are mapped, and queue the import.

    Into an empty project the mapping goes with the file; a later file must have the same columns (in any order) and
    the same mapping. What an earlier import left unfinished is removed first.

    Args:
        content_columns: what the models see.
        id_column: values that name a row; the same one twice is one row. Empty for none.
        reference_column: known labels, for measuring only. Empty for none.
        column_kinds: what content columns of a table hold (number, category, text), where the guess is not to count; also
            changes what an earlier import said. None leaves that as it is.
        on_bad_row, keep_duplicates, keep_empty: see :class:`ImportChoices`.
        then: further uploads with the same columns, to be imported one after the other in the same way.

    Raises:
        InvalidFileError: the mapping does not fit the file or the project; the sentence says where.
        BusyError: another stage of the project is at work.
    """
    check_mapping(upload, content_columns, id_column, reference_column)
    check_column_kinds(column_kinds or {}, content_columns)
    for each in then:
        check_mapping(each, content_columns, id_column, reference_column)
        check_same_columns(upload, each)
    if project.stages.active().filter(kind__in=kinds.keys(lambda kind: not kind.only_reads)).exists():
        raise BusyError(state.ANOTHER_AT_WORK)
    for leftover in leftovers(project):
        discard_import(leftover)
    mapping = {
        "columns": list(upload.columns),
        "content_columns": list(content_columns),
        "id_column": id_column,
        "reference_column": reference_column,
    }
    with transaction.atomic():
        stage = state.create_stage(
            project,
            kinds.IMPORT,
            user=user,
            detail=ImportDetail(
                upload=upload.pk,
                file=upload.name,
                then=[each.pk for each in then],
                **asdict(ImportChoices(on_bad_row, keep_duplicates, keep_empty)),
            ),
        )
        if project.samples.exists():
            check_same_mapping(project, mapping)
        else:
            Project.objects.filter(pk=project.pk).update(**mapping)
        if column_kinds is not None:
            Project.objects.filter(pk=project.pk).update(column_kinds=dict(column_kinds))
        clear_report(upload)
    project.refresh_from_db()
    upload.refresh_from_db()
    return stage


# --- Run ----------------------------------------------------------------------------------------------------------


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
    choices = ImportChoices.stored(detail)
    start_import(
        project,
        queue[0],
        content_columns=project.content_columns,
        id_column=project.id_column,
        reference_column=project.reference_column,
        user=stage.requested_by,
        then=queue[1:],
        **asdict(choices),
    )
