"""One attempt at an import: it streams the rows in batches, each stored together with its report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice

from django.db import connection, transaction
from django.db.models import Max

from annotation.errors import InvalidFileError
from annotation.files.open_table import open_table
from annotation.files.records import Limits, Reading, RejectedRow, SourceRow, Table
from annotation.jobs.details import ImportDetail
from annotation.jobs.work import Job
from annotation.models import Project, Upload
from annotation.pipeline.ingest.column_roles import ColumnRoles, ImportChoices, check_same_roles
from annotation.pipeline.ingest.duplicates import index_rows, store_run
from annotation.pipeline.ingest.import_report import ImportReport
from annotation.pipeline.ingest.owner_limits import check_rows, rows_of_owner
from annotation.pipeline.ingest.store_rows import SampleMaker, insert_samples
from annotation.pipeline.ingest.upload import file_limits, path_of
from mlcore.errors import StoppedError

BATCH_ROWS = 1_000
BATCH_CHARACTERS = 4_000_000
CACHE_KB = 12_000


class ImportAttempt:
    """One attempt at an import."""

    def __init__(self, job: Job[ImportDetail], upload: Upload) -> None:
        self._job, self._upload = job, upload
        self._project: Project = upload.project
        self._limits: Limits = file_limits()
        self._report = ImportReport.of(upload)
        self._choices = ImportChoices.stored(job.progress.detail)

    def run(self) -> None:
        self._table = self._open()
        self._maker = SampleMaker(self._project, self._table.columns, self._choices)
        if self._report.start_position is None:
            last = self._project.samples.aggregate(last=Max("position"))["last"]
            self._report.start_position = 0 if last is None else last + 1
        self._rows_before = rows_of_owner(self._project) - self._report.imported
        progress = self._job.progress
        progress.report(detail=replace(progress.detail, done_before=self._report.read))
        with _bulk_writing():
            for batch in _batches(islice(self._table.rows, self._report.read, None)):
                if self._job.lease.should_stop():
                    raise StoppedError
                self._store(batch)
                self._tell()
            self._finish()

    def _open(self) -> Table:
        reading = Reading.from_dict(self._upload.reading)
        reading = replace(
            reading, inner=tuple(name for name in reading.inner if name in self._project.columns)
        )
        table = open_table(
            path_of(self._upload), reading, self._limits, text_columns=self._project.content_columns
        )
        late = [name for name in table.columns if name not in self._project.columns]
        if late and not self._report.read and not self._project.samples.exists():
            # A JSON file may name a column for the first time far below the rows that the preview saw.
            with transaction.atomic():
                self._job.lease.fence()
                self._project.columns = list(table.columns)
                self._project.save(update_fields=["columns"])
        elif late:
            check_same_roles(self._project, table.columns, ColumnRoles.of(self._project))
        return table

    def _store(self, batch: list[SourceRow | RejectedRow]) -> None:
        report = self._report
        with transaction.atomic():
            self._job.lease.fence()
            report.read += len(batch)
            samples = self._maker.samples_of(batch, report)
            if self._choices.on_bad_row == "reject" and report.rejected:
                raise self._refusal()
            assert report.start_position is not None
            position = report.start_position + report.imported
            if position + len(samples) > self._limits.rows:
                raise InvalidFileError(
                    "With this file the project would have more than %(most)s rows, the maximum (CORAL_MAX_ROWS).",
                    most=self._limits.rows,
                )
            check_rows(self._rows_before + report.imported + len(samples))
            insert_samples(self._project, samples, first_position=position)
            report.imported += len(samples)
            report.save(self._upload)

    def _refusal(self) -> InvalidFileError:
        line, _outcome, reason = next(row for row in self._report.rows if row[1] == "rejected")
        return InvalidFileError(
            "Line %(line)s: %(reason)s. Nothing was imported, because one row that can't be read was to stop the import.",
            line=line,
            reason=reason,
        )

    def _tell(self) -> None:
        notes, read = self._table.notes, self._report.read
        share = notes.bytes_read / notes.bytes_total if notes.bytes_total else 0.0
        # How many rows there are is known at the end only; until then, by the share of the file that is read.
        self._job.progress.report(done=read, total=max(read, round(read / share)) if share else read)

    def _finish(self) -> None:
        report = self._report
        if not report.read:
            raise InvalidFileError("The file has column names but no rows.")
        if not report.imported and not report.duplicates:
            line, _outcome, reason = report.rows[0]
            raise InvalidFileError(
                "None of the %(count)s rows could be imported. The first, line %(line)s: %(reason)s.",
                count=report.rejected,
                line=line,
                reason=reason,
            )
        assert report.start_position is not None
        run, texts = index_rows(self._project, report.start_position)
        if repeated := report.imported - texts:
            self._table.notes.notice(
                "rows with the same text as another row; labeling them costs nothing extra", repeated
            )
        report.warnings = dict(self._table.notes.counts)
        report.finished = True
        with transaction.atomic():
            self._job.lease.fence()
            store_run(self._project, run)
            report.save(self._upload)
        self._job.progress.report(
            done=report.read,
            total=report.read,
            phase="",
            force=True,
            detail=replace(
                self._job.progress.detail,
                imported=report.imported,
                duplicates=report.duplicates,
                rejected=report.rejected,
            ),
        )


@contextmanager
def _bulk_writing() -> Iterator[None]:
    """Keeps SQLite's page cache small while rows stream in: it would fill with rows that nobody reads soon."""
    if connection.vendor != "sqlite":
        yield
        return
    with connection.cursor() as cursor:
        before = cursor.execute("PRAGMA cache_size").fetchone()[0]
        cursor.execute(f"PRAGMA cache_size = {-CACHE_KB}")
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
