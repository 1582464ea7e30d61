"""Take a file in: store it under a random name, recognise it by its content, show what would be imported."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypedDict, Unpack

from django.conf import settings
from django.contrib.auth.models import User
from django.core.files.base import File
from django.db import transaction
from django.utils.translation import gettext as _

from annotation.errors import AnnotationError, InvalidFileError
from annotation.files import data_store
from annotation.files.records import TEXT_FORMATS, WORKBOOKS, Limits, Reading
from annotation.files.sniff import detect_structure, recognise
from annotation.files.text.delimiters import DELIMITERS, QUOTES
from annotation.files.text.encodings import ENCODINGS
from annotation.files.text.title import below_title
from annotation.files.unpack import unpack_only_file
from annotation.jobs import kinds
from annotation.jobs.details import ImportDetail
from annotation.messages import message
from annotation.models import Project, Upload
from annotation.pipeline.ingest.owner_limits import check_storage
from annotation.pipeline.ingest.preview import Preview, first_look, look
from mlcore.messages import Message

MAX_NAME = 255
MAX_HEADER = 20
LINES = Reading("csv", delimiter="", quote="", header=0, header_said=True)


def file_limits() -> Limits:
    """The limits that the operator set."""
    file_bytes = settings.UPLOAD_MAX_MB * 2**20
    return Limits(
        file_bytes=file_bytes,
        unpacked_bytes=5 * file_bytes,
        rows=settings.MAX_ROWS,
        columns=settings.MAX_COLUMNS,
        cell_characters=settings.MAX_CELL_CHARACTERS,
    )


class ReadingChoice(TypedDict, total=False):
    """How a file is to be read, where the person knows better; what is missing or None stays as detected."""

    encoding: str | None
    delimiter: str | None
    quote: str | None
    sheet: str | None
    header: int | None
    replace_bad: bool | None
    fill_merged: bool | None
    escaped: bool | None
    wrapped: bool | None


def store_upload(
    project: Project,
    file: File[bytes],
    user: User | None,
    *,
    one_text_a_line: bool = False,
    **chosen: Unpack[ReadingChoice],
) -> Upload:
    """Store an uploaded file and find out how it is to be read.

    The size is checked while the file streams in; what is refused leaves nothing behind. The name is for show only.

    Args:
        one_text_a_line: each line is a text, without column names above.
        chosen: how it is to be read, where detecting that goes wrong and the file would be refused for it.

    Raises:
        InvalidFileError: the file is too large, empty, or nothing that can be read, with a sentence that says what it is;
            or a choice is none that there is.
        AnnotationError: there is no room to store it, or the owner has as many files as one may have.
    """
    limits = file_limits()
    settings.UPLOAD_DIR.mkdir(parents=True, exist_ok=True, mode=0o700)
    stored_name = uuid.uuid4().hex
    path: Path = settings.UPLOAD_DIR / stored_name
    try:
        size, digest = _write(file, path, limits)
        unpack_only_file(path, limits)
        check_storage(project, size)
        reading = LINES if one_text_a_line else recognise(path, limits)
        reading = _chosen(path, reading, limits, chosen)
        preview = first_look(path, reading, limits)
        data_store.send(path)  # in no transaction, which would hold others' writes until the store has it
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    try:
        return Upload.objects.create(
            project=project,
            name=shown_name(file.name or ""),
            stored_name=stored_name,
            size=size,
            sha256=digest,
            reading=preview.reading.as_dict(),
            columns=list(preview.columns),
            preview=preview.rows,
            created_by=user,
        )
    except BaseException:
        data_store.drop(path)
        raise


def read_preview(upload: Upload, **chosen: Unpack[ReadingChoice]) -> Preview:
    """What the file looks like, read as detected or as the person chooses here; a choice is kept for the import.

    Raises:
        InvalidFileError: it can't be read so, or the choice is none that there is.
    """
    path, limits = path_of(upload), file_limits()
    before = Reading.from_dict(upload.reading)
    reading = _chosen(path, before, limits, chosen)
    preview = look(path, reading, limits)
    if preview.reading != before:
        upload.reading, upload.columns, upload.preview = (
            preview.reading.as_dict(),
            list(preview.columns),
            preview.rows,
        )
        upload.save(update_fields=["reading", "columns", "preview"])
    return replace(preview, warnings=[*_known_before(upload), *preview.warnings])


def waiting_uploads(project: Project) -> list[Upload]:
    """Files that nobody has begun to import, in the order in which they were uploaded."""
    taken: set[int] = set()
    for detail in project.stages.filter(kind=kinds.IMPORT.key).values_list("detail", flat=True):
        taken.add(ImportDetail.from_json(detail).upload)
    for stage in project.stages.active().filter(kind=kinds.IMPORT.key):
        taken.update(ImportDetail.of(stage).then)
    return list(project.uploads.filter(report={}).exclude(pk__in=taken).order_by("pk"))


def delete_upload(upload: Upload) -> None:
    """Forget an upload and remove its file; rows that were imported from it stay."""
    path: Path = upload.path
    with transaction.atomic():
        upload.delete()
        transaction.on_commit(lambda: data_store.drop(path))


def path_of(upload: Upload) -> Path:
    """Where the file lies.

    Raises:
        InvalidFileError: it is not there any more.
    """
    path: Path = upload.path
    if not data_store.bring(path):
        raise InvalidFileError(
            "The uploaded file “%(name)s” no longer exists. Upload it again.", name=upload.name
        )
    return path


def shown_name(name: str) -> str:
    """A file name that is safe to show: no folder, no control or direction character."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(char for char in last if char.isprintable()).strip()[-MAX_NAME:] or "file"


def _write(file: File[bytes], path: Path, limits: Limits) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("xb") as target:
            for block in file.chunks(2**20):
                size += len(block)
                if size > limits.file_bytes:
                    raise InvalidFileError(
                        "The file is larger than %(most)s MB, the maximum (CORAL_UPLOAD_MAX_MB).",
                        most=limits.file_bytes // 2**20,
                    )
                digest.update(block)
                target.write(block)
    except OSError as error:
        raise AnnotationError(
            "The file could not be stored: %(why)s. Make room in the data folder, then upload it again.",
            why=str(error.strerror),
        ) from error
    return size, digest.hexdigest()


def _chosen(path: Path, reading: Reading, limits: Limits, chosen: ReadingChoice) -> Reading:
    sheet, encoding, delimiter = chosen.get("sheet"), chosen.get("encoding"), chosen.get("delimiter")
    reading = _with_header(reading, chosen)
    if reading.format in WORKBOOKS:
        if sheet is not None:
            _check_choice(sheet, [each.name for each in reading.sheets], message("sheet"))
            reading = replace(reading, sheet=sheet)
            if chosen.get("header") is None:
                reading = below_title(path, replace(reading, header=1), limits)
        return replace(reading, fill_merged=_or(chosen.get("fill_merged"), reading.fill_merged))
    if encoding is not None and reading.format in TEXT_FORMATS:
        _check_choice(encoding, list(ENCODINGS), message("encoding"))
        reading = detect_structure(path, replace(reading, encoding=encoding, sure=True), limits)
    if delimiter is not None and reading.format == "csv":
        _check_choice(delimiter, list(DELIMITERS), message("delimiter"))
        reading = replace(reading, delimiter=delimiter, quote='"')
    if (quote := chosen.get("quote")) is not None and reading.format == "csv":
        _check_choice(quote, list(QUOTES), message("quote"))
        reading = replace(reading, quote=quote)
    if reading.format == "csv":
        reading = replace(
            reading,
            escaped=_or(chosen.get("escaped"), reading.escaped),
            wrapped=_or(chosen.get("wrapped"), reading.wrapped),
        )
    return reading


def _with_header(reading: Reading, chosen: ReadingChoice) -> Reading:
    header = chosen.get("header")
    if header is not None and reading.format in ("csv", *WORKBOOKS):
        if not 0 <= header <= MAX_HEADER:
            raise InvalidFileError(
                "The column names are in one of the first %(most)s rows, or nowhere (0); not in row %(row)s.",
                most=MAX_HEADER,
                row=header,
            )
        reading = replace(reading, header=header, header_said=True)
    if reading.format in TEXT_FORMATS:
        return replace(reading, replace_bad=_or(chosen.get("replace_bad"), reading.replace_bad))
    return reading


def _or(chosen: bool | None, before: bool) -> bool:
    return before if chosen is None else chosen


def _check_choice(chosen: str, allowed: list[str], what: Message) -> None:
    if chosen not in allowed:
        raise InvalidFileError(
            "There is no %(what)s “%(chosen)s” here. Choose one of: %(allowed)s.",
            what=what,
            chosen=chosen,
            allowed=", ".join(map(repr, allowed)),
        )


def _known_before(upload: Upload) -> Iterator[str]:
    twins = Upload.objects.filter(project=upload.project_id, sha256=upload.sha256, pk__lt=upload.pk)
    if any(twin.report.get("imported") for twin in twins):
        yield _("This file has already been imported into the project.")
