"""Reference labels: from the cells of the uploaded column to the project's labels. They reach metrics and nothing else."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Count, Q, TextField, Value
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import NullIf, Trim
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from annotation.jobs import kinds, state
from annotation.jobs.details import Detail
from annotation.jobs.work import Job
from annotation.models import Project, Upload
from annotation.models.sql import parts_by_key
from mlcore.errors import StoppedError

MAX_VALUES = MAX_LABELS = 1_000
MAX_LABEL = 100
LISTED_VALUES = 20
_CHUNK_ROWS = 20_000
ROWS_AT_ONCE = 20_000  # a second or two
# Without a width, and with a meaning in no label: soft hyphen, marks of direction and of byte order. Joiners have one.
_UNSEEN = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")


def plain_label(value: str) -> str:
    """A label as people see it: without characters that have no width, single blanks between its words. A list with one
    label, as JSON or as pandas writes it, is that label; an empty one is none."""
    value = value.strip()
    if value.startswith("[") and value.endswith("]"):
        value = _only_entry(value)
    return " ".join(_UNSEEN.sub("", value).split())


def _only_entry(text: str) -> str:
    try:
        entries = ast.literal_eval(text) if "'" in text else json.loads(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text
    if not isinstance(entries, list) or len(entries) > 1:
        return text
    return str(entries[0]) if entries and isinstance(entries[0], str | int) else "" if not entries else text


def label_finder(project: Project) -> Callable[[str], int | None]:
    """The id of the label that a cell names: exactly, else whatever its capitals, white space and unseen characters are."""
    labels = project.label_list()
    exact = {label.name: label.pk for label in labels}
    ids = {plain_label(label.name).casefold(): label.pk for label in labels}

    def find(cell: str) -> int | None:
        return exact.get(cell) or ids.get(plain_label(cell).casefold())

    return find


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Labels by the reference column, most frequent first, and how many rows have a value that can't be one of them."""

    names: list[str]
    left_out_rows: int


def suggest_labels(source: Project | Upload) -> Suggestion:
    """The different values of the reference column, at most 1,000 of at most 100 characters.

    Values that differ only in capitals or in white space around them are one, in the most frequent writing.
    """
    uploads = [source] if isinstance(source, Upload) else list(source.uploads.all())
    counts: Counter[str] = Counter()
    for upload in uploads:
        counts.update(upload.report.get("reference_values", {}))
    writing: dict[str, str] = {}
    total: Counter[str] = Counter()
    for value, times in counts.most_common():
        plain = plain_label(value)
        writing.setdefault(plain.casefold(), plain)
        total[plain.casefold()] += times
    kept = [folded for folded, _times in total.most_common() if len(folded) <= MAX_LABEL][:MAX_LABELS]
    left_out = total.total() - sum(total[folded] for folded in kept)
    uncounted = sum(upload.report.get("further_references", 0) for upload in uploads)
    return Suggestion([writing[folded] for folded in kept], left_out + uncounted)


def start_matching(project: Project, *, user: User | None, renamed: bool) -> bool:
    """Link the rows to labels that were set after the import: at once where they are few, otherwise by a stage, if labels
    were ``renamed`` or new.

    Returns:
        Whether it is done.

    Raises:
        BusyError: a stage of the project is at work.
    """
    rows = project.samples.count()
    if rows <= ROWS_AT_ONCE or not _has_column(project):
        match_references(project)
        return True
    if renamed:
        state.create_stage(project, kinds.REFERENCES, total=rows, user=user)
    return False


def run_matching(job: Job[Detail]) -> None:
    """Do the same as a stage. Repeatable: a killed one begins anew, and writes only what is not right yet.

    Raises:
        StoppedError: a person asked to pause or cancel.
    """

    def told(done: int) -> None:
        job.progress.report(done=done)
        if job.lease.should_stop():
            raise StoppedError

    match_references(job.stage.project, piece=job.lease.piece, told=told)


def match_references(
    project: Project,
    *,
    piece: Callable[[], AbstractContextManager[Any]] = transaction.atomic,
    told: Callable[[int], None] = lambda done: None,
) -> int:
    """Link each row's reference cell to the label that it names, wherever one does; for labels set after the import.

    A link that no label's name confirms stays: a label may have been renamed since.

    Args:
        piece: the transaction in which some rows are written.
        told: called with the number of rows that were looked at.

    Returns:
        How many rows have a reference label now.
    """
    if not _has_column(project):
        return 0
    done = 0
    label_of = label_finder(project)
    cells = project.samples.order_by().values_list("position", "pk", "reference_id", _cell(project))
    for part in parts_by_key(cells, "position", _CHUNK_ROWS, itemgetter(0)):
        named: dict[int, list[int]] = defaultdict(list)
        for _position, pk, reference_id, cell in part:
            label_id = label_of(cell or "")
            if label_id is not None and label_id != reference_id:
                named[label_id].append(pk)
        # In pieces, so that nobody waits long for the database.
        with piece():
            for label_id, keys in named.items():
                project.samples.filter(pk__in=keys).update(reference_id=label_id)
        done += len(part)
        told(done)
    return project.samples.filter(reference__isnull=False).count()


def with_reference(rows: Any, project: Project, *, sample: str = "") -> Any:
    """The rows over which an accuracy is counted: those with a reference label and, unless the project leaves them out,
    those whose reference cell names no label, which count as wrong.

    Args:
        rows: a QuerySet of rows, or of predictions.
        sample: the path to the row, such as ``sample__``.
    """
    known = Q(**{f"{sample}reference__isnull": False})
    if project.unknown_references == Project.UnknownReferences.LEFT_OUT or not _has_column(project):
        return rows.filter(known)
    return rows.alias(cell=_cell(project, sample)).filter(known | Q(cell__gt=""))


@dataclass(frozen=True, slots=True)
class UnknownReferences:
    """Rows whose reference cell names no label of the project, and the most frequent of those cells with their rows."""

    rows: int = 0
    values: tuple[tuple[str, int], ...] = ()


def unknown_references(project: Project) -> UnknownReferences:
    if not _has_column(project):
        return UnknownReferences()
    rows = project.samples.order_by().filter(reference__isnull=True).annotate(cell=_cell(project))
    values = rows.filter(cell__gt="").values_list("cell").annotate(rows=Count("pk")).order_by("-rows", "cell")
    return UnknownReferences(rows.filter(cell__gt="").count(), tuple(values[:LISTED_VALUES]))


def unknown_references_sentence(project: Project) -> str:
    """What to say of rows whose reference label is none of the project's, and how they count; empty without any."""
    unknown = unknown_references(project)
    if not unknown.rows:
        return ""
    values = ", ".join(f"{value} ({rows:,})" for value, rows in unknown.values)
    further = unknown.rows - sum(rows for _value, rows in unknown.values)
    sentence = ngettext(
        "%(rows)s row has a reference label that is none of the project's: %(values)s.",
        "%(rows)s rows have a reference label that is none of the project's: %(values)s.",
        unknown.rows,
    ) % {"rows": f"{unknown.rows:,}", "values": values + (f", … ({further:,})" if further else "")}
    if project.unknown_references == Project.UnknownReferences.WRONG:
        return f"{sentence} {_('They count as wrong.')}"
    return f"{sentence} {_('They are left out of the accuracy.')}"


def _has_column(project: Project) -> bool:
    return project.reference_column in project.columns


def _cell(project: Project, sample: str = "") -> NullIf:
    place = project.columns.index(project.reference_column)
    cell = Trim(KeyTextTransform(place, f"{sample}fields"))
    return NullIf(cell, Value("[]"), output_field=TextField())
