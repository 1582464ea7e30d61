"""Reference labels: from the cells of the uploaded column to the project's labels. They reach metrics and nothing else."""

from __future__ import annotations

from collections import Counter

from django.db import transaction
from django.db.models import BigIntegerField, Case, F, Max, Value, When
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Lower, Trim
from django.db.models.lookups import Exact, In

from annotation.models import Project, Upload

MAX_VALUES = 1_000
MAX_SUGGESTED = 50
MAX_LABEL = 100
_CHUNK_ROWS = 20_000


def label_ids_by_value(project: Project) -> dict[str, int]:
    """Label ids by what a reference cell says of them: white space around it and capitals don't count."""
    return {label.name.strip().casefold(): label.pk for label in project.label_list()}


def suggest_labels(source: Project | Upload) -> list[str]:
    """The different values of the reference column, most frequent first; at most 50, for nobody labels by hand with more.

    Values that differ only in capitals or in white space around them are one, in the most frequent writing.
    """
    uploads = [source] if isinstance(source, Upload) else list(source.uploads.all())
    counts: Counter[str] = Counter()
    for upload in uploads:
        counts.update(upload.report.get("reference_values", {}))
    writing: dict[str, str] = {}
    total: Counter[str] = Counter()
    for value, times in counts.most_common():
        writing.setdefault(value.casefold(), value)
        total[value.casefold()] += times
    return [writing[folded] for folded, _ in total.most_common() if len(folded) <= MAX_LABEL][:MAX_SUGGESTED]


def match_references(project: Project) -> int:
    """Link each row's reference cell to the label that it names, wherever one does; for labels set after the import.

    A link that no label's name confirms stays: a label may have been renamed since.

    Returns:
        How many rows have a reference label now.
    """
    if project.reference_column not in project.columns:
        return 0
    place = project.columns.index(project.reference_column)
    choice = _choice(project, place)
    last = project.samples.aggregate(last=Max("position"))["last"]
    if choice is not None and last is not None:
        for begin in range(0, last + 1, _CHUNK_ROWS):
            # In pieces, so that nobody waits long for the database.
            with transaction.atomic():
                rows = project.samples.order_by().filter(
                    position__gte=begin, position__lt=begin + _CHUNK_ROWS
                )
                rows.update(reference_id=choice)
    return project.samples.filter(reference__isnull=False).count()


def _choice(project: Project, place: int) -> Case | None:
    """The label's id by the cell: by its spellings in the files, and in any other by the database's lower case."""
    by_value = label_ids_by_value(project)
    if not by_value:
        return None
    cell = Trim(KeyTextTransform(place, "fields"))
    spellings: dict[int, set[str]] = {label_id: set() for label_id in by_value.values()}
    for upload in project.uploads.all():
        for value in upload.report.get("reference_values", {}):
            if value.casefold() in by_value:
                spellings[by_value[value.casefold()]].add(value)
    cases = [
        When(
            In(cell, spellings[label_id]) if spellings[label_id] else Exact(Lower(cell), name.lower()),
            then=Value(label_id),
        )
        for name, label_id in by_value.items()
    ]
    return Case(*cases, default=F("reference_id"), output_field=BigIntegerField())
