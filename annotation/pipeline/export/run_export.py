"""Export: rows with their labels and where they come from, as Excel, CSV, JSON Lines or Parquet, made in the background."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import get_language, override

from annotation.errors import AnnotationError, NotReadyError
from annotation.files import data_store
from annotation.files.excel.writer import (
    MAX_ROWS,
    ExcelRow,
    ExcelWriter,
    certificate_sheet,
    history_sheet,
    quality_sheet,
)
from annotation.files.parquet_writer import write_parquet_rows
from annotation.files.writers import write_csv_rows, write_json_rows
from annotation.jobs import kinds, state
from annotation.jobs.details import ExportDetail
from annotation.jobs.work import Job
from annotation.models import Flag, Project, Stage
from annotation.pipeline.export.certificate_lines import certificate_lines
from annotation.pipeline.export.other_tools import TOOL_WRITERS
from annotation.pipeline.export.provenance import provenance_lines, quality_lines
from annotation.pipeline.export.rows import (
    ALL_ROWS,
    FLAG_WORDS,
    OnProgress,
    Selection,
    export_header,
    export_rows,
    number_columns,
)
from annotation.pipeline.project.goal import goal_of
from mlcore.errors import StoppedError

#: The end of a working folder's name.
WORKING = ".part"

# --- As a job -----------------------------------------------------------------------------------------------------


def start_export(
    project: Project,
    *,
    user: User | None,
    format: str,
    query: str = "",
    certainty: float | None = None,
) -> Stage:
    """Queue an export; one of the same rows that waits or runs already in this format is returned instead of a second.

    Args:
        query: a filter of the table, as its address has it; empty for all rows.
        certainty: how probable it must be that a row's label is right, 0 to 1; None for any.

    Raises:
        NotReadyError: there are no such rows.
        AnnotationError: there is no such format, or the filter does not fit the project.
    """
    if format not in WRITERS:
        raise AnnotationError(
            "There is no export format “%(name)s”. Choose one of: %(all)s.",
            name=format,
            all=", ".join(WRITERS),
        )
    selection = Selection.of(project, query=query, certainty=certainty)
    detail = ExportDetail(format=format, language=get_language(), **asdict(selection))
    asked = (detail.format, detail.language, selection)
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)  # one at a time, for double clicks
        for running in project.stages.active().filter(kind=kinds.EXPORT.key):
            other = ExportDetail.of(running)
            if (other.format, other.language, Selection.stored(other)) == asked:
                return running
        return state.create_stage(
            project, kinds.EXPORT, total=selection.rows(project).count(), user=user, detail=detail
        )


def run_export(job: Job[ExportDetail]) -> None:
    """Write the file in a folder of this attempt, and give it its place and name when it is whole and on the disk.

    An attempt that is killed leaves its folder, with whatever a library put there, to the next attempt or the reaper;
    nobody is ever offered half a file.

    Raises:
        StoppedError: a person asked to pause or cancel; resuming begins anew.
    """
    stage, detail = job.stage, job.progress.detail
    name = f"{stage.run_id}.{detail.format}"
    target = _export_folder() / name
    for left in target.parent.glob(f"{stage.run_id}*{WORKING}"):
        data_store.remove_here(left)
    working = target.with_name(f"{stage.run_id}.{job.lease.attempt}{WORKING}")
    working.mkdir(mode=0o700)
    part = working / name
    job.progress.report(phase="writing", done=0, force=True)

    def tell(done: int) -> None:
        job.progress.report(done=done)
        if job.lease.should_stop():
            raise StoppedError

    try:
        write = WRITERS[detail.format]
        with override(detail.language or get_language()):
            rows = write(stage.project, part, selection=Selection.stored(detail), on_progress=tell)
        _sync(part)
        data_store.send(part, name=target)
        with transaction.atomic():
            job.lease.fence()
            part.replace(target)
    finally:
        data_store.remove_here(working)
    job.progress.report(
        phase="",
        done=rows,
        total=rows,
        force=True,
        detail=replace(
            detail,
            stored=name,
            rows=rows,
            size=target.stat().st_size,
            file=_shown_name(stage),
            sheets=-(-rows // MAX_ROWS) if target.suffix == ".xlsx" else 1,
        ),
    )


def export_path(stage: Stage) -> Path:
    """Where the finished file lies.

    Raises:
        NotReadyError: it is not finished, or was removed after some days.
    """
    path = _stored_path(stage)
    if not data_store.bring(path):
        raise NotReadyError(
            "This export was deleted; files are kept for %(days)s days. Create a new one.",
            days=settings.EXPORT_DAYS,
        )
    return path


def is_kept(stage: Stage) -> bool:
    """Whether the file of a finished export is still there."""
    return data_store.is_kept(_stored_path(stage))


def _stored_path(stage: Stage) -> Path:
    if stage.kind != kinds.EXPORT.key or stage.status != Stage.Status.DONE:
        raise NotReadyError("This export is not finished yet.")
    return _export_folder() / ExportDetail.of(stage).stored


def remove_old_exports() -> int:
    """Remove the files that are older than ``settings.EXPORT_DAYS``, and what attempts left that nobody goes on with."""
    oldest = time.time() - settings.EXPORT_DAYS * 86_400
    removed = data_store.drop_older(_export_folder(), oldest)
    paths = list(_export_folder().iterdir())
    at_work = {str(run) for run in Stage.objects.active().values_list("run_id", flat=True)}
    for path in paths:
        with suppress(FileNotFoundError):  # another process removes them as well
            is_left = path.suffix == WORKING and path.name.partition(".")[0] not in at_work
            if is_left or path.stat().st_mtime < oldest:
                data_store.remove_here(path)
                removed += 1
    return removed


def _export_folder() -> Path:
    folder: Path = settings.EXPORT_DIR
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _shown_name(stage: Stage) -> str:
    detail = ExportDetail.of(stage)
    name = slugify(stage.project.name, allow_unicode=True)[:60] or "corpus"
    moment = f"{timezone.localtime():%Y-%m-%d-%H%M}"
    return "-".join([name, *Selection.stored(detail).words, moment]) + f".{detail.format}"


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


# --- The files ----------------------------------------------------------------------------------------------------


def write_excel(
    project: Project, path: Path, *, selection: Selection = ALL_ROWS, on_progress: OnProgress | None = None
) -> int:
    """Write the rows, the certificate of a project with a goal, counts and measured accuracy, and how all of it was made.

    Rows that are not called right are coloured as on the pages. The sheets for people are in the language of the moment, which
    for a job is that of whoever asked for the file; the rows and their columns are the same in all. No cell is a
    formula; a text that Excel can't hold is cut with a mark.

    Returns:
        The number of rows.
    """
    uploaded = len(project.columns)
    flag = uploaded + 7
    with ExcelWriter(path) as book:
        rows = (
            ExcelRow(
                cells,
                cells[flag] in (FLAG_WORDS[Flag.WRONG], FLAG_WORDS[Flag.INCONSISTENT]),
            )
            for cells in export_rows(project, selection, on_progress)
        )
        count = book.write_rows(export_header(project), rows)
        if goal := goal_of(project):
            book.write_lines(certificate_sheet(), certificate_lines(project, goal))
        book.write_lines(quality_sheet(), quality_lines(project))
        book.write_lines(history_sheet(), provenance_lines(project, cut=book.cut, selection=selection))
    return count


def write_csv(
    project: Project, path: Path, *, selection: Selection = ALL_ROWS, on_progress: OnProgress | None = None
) -> int:
    """Write rows as CSV (UTF-8 with a mark, so that Excel knows). Returns the number of rows.

    A text that a spreadsheet would run as a formula gets an apostrophe before it; importing the file takes it off again.
    """
    with _new_file(path, "utf-8-sig") as file:
        return write_csv_rows(file, export_header(project), export_rows(project, selection, on_progress))


def write_jsonl(
    project: Project, path: Path, *, selection: Selection = ALL_ROWS, on_progress: OnProgress | None = None
) -> int:
    """Write rows as JSON Lines, one object a row, texts exactly as they are. Returns the number of rows."""
    with _new_file(path, "utf-8") as file:
        return write_json_rows(file, export_header(project), export_rows(project, selection, on_progress))


def write_parquet(
    project: Project, path: Path, *, selection: Selection = ALL_ROWS, on_progress: OnProgress | None = None
) -> int:
    """Write rows as Parquet: cells of the types that they came with, confidences and rounds as numbers. Returns the number
    of rows."""
    schemas = (upload.reading.get("schema") for upload in project.uploads.order_by("pk"))
    return write_parquet_rows(
        path,
        export_header(project),
        number_columns(project),
        lambda: export_rows(project, selection, on_progress),
        typed=project.samples.exclude(cell_types="").exists(),
        stored_schema=next(filter(None, schemas), ""),
    )


WRITERS: dict[str, Callable[..., int]] = {
    "xlsx": write_excel,
    "csv": write_csv,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
    **TOOL_WRITERS,
}


def writer_of(path: Path) -> Callable[..., int] | None:
    """The writer of a file by the end of its name, such as ``.xlsx`` or ``.label-studio.json``; None if there is none."""
    by_length = sorted(WRITERS, key=len, reverse=True)
    return next((WRITERS[end] for end in by_length if path.name.lower().endswith(f".{end}")), None)


def _new_file(path: Path, encoding: str) -> IO[str]:
    return path.open("w", encoding=encoding, newline="")
