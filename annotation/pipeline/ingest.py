"""Import a file: check the mapping, stream its rows into samples, and tell of every row what became of it.

An import is all or nothing to the project, row by row to the person: rows are stored in batches together with the
report of the same batch, so a killed import goes on exactly where it stopped; an import that fails or is cancelled
takes back what it had stored. Read = imported + duplicates + rejected, always.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal

from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from annotation import jobs
from annotation.errors import BusyError, InvalidFileError
from annotation.files.records import Limits, Reading, RejectedRow, SourceRow, Table
from annotation.files.rows import open_table
from annotation.models import Project, Sample, Stage, Upload
from annotation.pipeline.import_report import ImportReport
from annotation.pipeline.mapping import check_mapping, check_same_mapping
from annotation.pipeline.references import match_references, suggest_labels
from annotation.pipeline.sample_rows import SampleMaker, insert_samples
from annotation.pipeline.upload import (
    Preview,
    delete_upload,
    file_limits,
    path_of,
    read_preview,
    shown_name,
    store_upload,
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
]

BATCH_ROWS = 1_000
BATCH_CHARACTERS = 4_000_000
REMOVE_ROWS = 5_000
CACHE_KB = 12_000
LOG_PAGES = 8_000  # of 4 KB

OnBadRow = Literal["skip", "reject"]


# --- Start --------------------------------------------------------------------------------------------------------


def start_import(
    project: Project,
    upload: Upload,
    *,
    content_columns: Sequence[str],
    id_column: str = "",
    reference_column: str = "",
    user: User | None,
    on_bad_row: OnBadRow = "skip",
) -> Stage:
    """Check how the columns are mapped, and queue the import.

    Into an empty project the mapping goes with the file; a later file must have the same columns (in any order) and
    the same mapping. What an earlier import left unfinished is removed first.

    Args:
        content_columns: what the models see.
        id_column: values that name a row; the same one twice is one row. Empty for none.
        reference_column: known labels, for measuring only. Empty for none.
        on_bad_row: import the good rows and list the others, or import nothing if one row is bad.

    Raises:
        InvalidFileError: the mapping does not fit the file or the project; the sentence says where.
        BusyError: another stage of the project is at work.
    """
    check_mapping(upload, content_columns, id_column, reference_column)
    if project.stages.active().exclude(kind=Stage.Kind.EXPORT).exists():
        raise BusyError(
            _("Another stage of this project is at work. Wait until it is done, or cancel it first.")
        )
    for leftover in _leftovers(project):
        discard_import(leftover)
    mapping = {
        "columns": list(upload.columns),
        "content_columns": list(content_columns),
        "id_column": id_column,
        "reference_column": reference_column,
    }
    try:
        with transaction.atomic():
            stage = Stage.objects.create(
                project=project,
                kind=Stage.Kind.IMPORT,
                requested_by=user,
                detail={"upload": upload.pk, "file": upload.name, "on_bad_row": on_bad_row},
            )
            if project.samples.exists():
                check_same_mapping(project, mapping)
            else:
                Project.objects.filter(pk=project.pk).update(**mapping)
            Upload.objects.filter(pk=upload.pk).update(report={})
            jobs.submit(stage)
    except IntegrityError as error:
        raise BusyError(
            _("Another stage of this project is at work. Wait until it is done, or cancel it first.")
        ) from error
    project.refresh_from_db()
    upload.refresh_from_db()
    return stage


# --- Run ----------------------------------------------------------------------------------------------------------


def run_import(claim: jobs.Claim) -> None:
    """Stream the upload's rows into samples, batch by batch, under the claim's fence.

    Repeating it is safe at any point: the report of the rows stored is written in the transaction that stores them.

    Raises:
        InvalidFileError: the file can't be imported; nothing of it stays in the project.
        StoppedError: a person asked to pause (rows stay) or cancel (they go), or the worker is going.
    """
    upload = Upload.objects.select_related("project").get(pk=claim.stage.detail["upload"])
    claim.report(phase="reading", force=True)
    try:
        _Import(claim, upload).run()
    except InvalidFileError:
        discard_import(claim.stage, claim)
        raise
    except StoppedError:
        if claim.owned().filter(wish=Stage.Wish.CANCEL).exists():
            discard_import(claim.stage, claim)
        raise


class _Import:
    """One attempt at an import."""

    def __init__(self, claim: jobs.Claim, upload: Upload) -> None:
        self._claim, self._upload, self._project = claim, upload, upload.project
        self._limits: Limits = file_limits()
        self._report = ImportReport.of(upload)
        self._strict = claim.stage.detail.get("on_bad_row") == "reject"

    def run(self) -> None:
        self._table = self._open()
        self._maker = SampleMaker(self._project, self._table.columns)
        if self._report.start_position is None:
            last = self._project.samples.aggregate(last=Max("position"))["last"]
            self._report.start_position = 0 if last is None else last + 1
        with _bulk_writing():
            for batch in _batches(islice(self._table.rows, self._report.read, None)):
                if self._claim.should_stop():
                    raise StoppedError(_("Stopped on request."))
                self._store(batch)
                self._tell()
            self._finish()

    def _open(self) -> Table:
        reading = Reading.from_dict(self._upload.reading)
        table = open_table(
            path_of(self._upload), reading, self._limits, text_columns=self._project.content_columns
        )
        late = [name for name in table.columns if name not in self._project.columns]
        if late and not self._report.read and not self._project.samples.exists():
            # A JSON file may name a column for the first time far below the rows that the preview saw.
            with transaction.atomic():
                self._claim.fence()
                self._project.columns = list(table.columns)
                self._project.save(update_fields=["columns"])
        elif late:
            check_same_mapping(
                self._project,
                {"columns": table.columns, **{name: getattr(self._project, name) for name in _MAPPED}},
            )
        return table

    def _store(self, batch: list[SourceRow | RejectedRow]) -> None:
        report = self._report
        with transaction.atomic():
            self._claim.fence()
            report.read += len(batch)
            samples = self._maker.samples_of(batch, report)
            if self._strict and report.rejected:
                raise self._refusal()
            assert report.start_position is not None
            position = report.start_position + report.imported
            if position + len(samples) > self._limits.rows:
                raise InvalidFileError(
                    _(
                        "With this file the project would have more than %(most)s rows, which is the most allowed (CORAL_MAX_ROWS)."
                    )
                    % {"most": f"{self._limits.rows:,}"}
                )
            insert_samples(self._project, samples, first_position=position)
            report.imported += len(samples)
            self._save_report()

    def _refusal(self) -> InvalidFileError:
        line, _outcome, reason = next(row for row in self._report.rows if row[1] == "rejected")
        return InvalidFileError(
            _("Line %(line)d: %(reason)s. Nothing was imported, since every row was to be good.")
            % {"line": line, "reason": reason}
        )

    def _save_report(self) -> None:
        Upload.objects.filter(pk=self._upload.pk).update(report=self._report.as_dict())

    def _tell(self) -> None:
        notes, read = self._table.notes, self._report.read
        share = notes.bytes_read / notes.bytes_total if notes.bytes_total else 0.0
        # How many rows there are is known at the end only; until then, by the share of the file that is read.
        self._claim.report(done=read, total=max(read, round(read / share)) if share else read)

    def _finish(self) -> None:
        report = self._report
        if not report.read:
            raise InvalidFileError(_("The file has column names but no rows."))
        if not report.imported and not report.duplicates:
            line, _outcome, reason = report.rows[0]
            raise InvalidFileError(
                _("None of the %(count)d rows could be imported. The first, line %(line)d: %(reason)s.")
                % {"count": report.rejected, "line": line, "reason": reason}
            )
        repeated = self._repeated_texts()
        report.warnings = dict(self._table.notes.counts) | (
            {"rows whose text is on another row too": repeated} if repeated else {}
        )
        report.finished = True
        with transaction.atomic():
            self._claim.fence()
            self._save_report()
        self._claim.report(
            done=report.read,
            total=report.read,
            phase="",
            force=True,
            detail={
                "imported": report.imported,
                "duplicates": report.duplicates,
                "rejected": report.rejected,
            },
        )

    def _repeated_texts(self) -> int:
        rows = self._project.samples.order_by()
        if self._report.start_position:  # without this condition, the index of contents alone answers
            rows = rows.filter(position__gte=self._report.start_position)
        return self._report.imported - rows.values("content_hash").distinct().count()


_MAPPED = ("content_columns", "id_column", "reference_column")


@contextmanager
def _bulk_writing() -> Iterator[None]:
    """Sets SQLite, where it is the database, for writing much that nobody reads soon.

    Its page cache would fill with rows for nothing: an import needs the pages of one batch. And since the index of
    contents is written all over, moving the log into the database less often writes each page less often; what is in
    the log at the end is moved by whoever writes next, so that setting is not taken back.
    """
    if connection.vendor != "sqlite":
        yield
        return
    with connection.cursor() as cursor:
        before = cursor.execute("PRAGMA cache_size").fetchone()[0]
        cursor.execute(f"PRAGMA cache_size = {-CACHE_KB}")
        cursor.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA cache_size = {before}")


def _batches(rows: Iterator[SourceRow | RejectedRow]) -> Iterator[list[SourceRow | RejectedRow]]:
    """Rows in batches that are small in number and in memory."""
    batch: list[SourceRow | RejectedRow] = []
    size = 0
    for row in rows:
        batch.append(row)
        if isinstance(row, SourceRow):
            size += sum(map(len, row.cells))
        if len(batch) == BATCH_ROWS or size > BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


# --- Take back ----------------------------------------------------------------------------------------------------


def cancel_import(stage: Stage) -> None:
    """Cancel an import wherever it stands, and take back the rows that it stored (a running one does so itself)."""
    jobs.request_cancel(stage)
    if stage.status == Stage.Status.CANCELLED:
        discard_import(stage)


def discard_import(stage: Stage, claim: jobs.Claim | None = None) -> None:
    """Remove the rows that an unfinished import stored. Resuming it then begins with the first row.

    Args:
        claim: the worker's hold on the stage; None where nobody is at work on it.
    """
    upload = Upload.objects.filter(pk=stage.detail.get("upload")).first()
    if upload is None:
        return
    report = ImportReport.of(upload)
    if report.finished:
        return
    if report.start_position is not None:
        rows = Sample.objects.filter(project=stage.project_id, position__gte=report.start_position)
        while (last := rows.aggregate(last=Max("position"))["last"]) is not None:
            _remove(rows.filter(position__gt=last - REMOVE_ROWS), claim)
    with transaction.atomic():
        if claim:
            claim.fence()
        Upload.objects.filter(pk=upload.pk).update(report={})


def check_no_leftovers(project: Project) -> None:
    """Refuse to go on while an import is only half done.

    Raises:
        BusyError: an import was broken off and left rows behind.
    """
    for stage in _leftovers(project):
        raise BusyError(
            _("The import of “%(file)s” was broken off. Resume it, or cancel it, before you go on.")
            % {"file": stage.detail.get("file", "")}
        )


def _leftovers(project: Project) -> list[Stage]:
    ended = project.stages.filter(
        kind=Stage.Kind.IMPORT, status__in=[Stage.Status.FAILED, Stage.Status.CANCELLED]
    )
    reports = dict(Upload.objects.filter(project=project).values_list("pk", "report"))
    return [stage for stage in ended if _is_half(reports.get(stage.detail.get("upload"), {}))]


def _is_half(report: dict[str, Any]) -> bool:
    return bool(report.get("imported")) and not report.get("finished")


def _remove(rows: Any, claim: jobs.Claim | None) -> None:
    with transaction.atomic():
        if claim:
            claim.fence()
        rows.delete()
