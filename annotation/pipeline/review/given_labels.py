"""Labels in a column of the rows, taken as people's corrections: by whom the row says, in bulk, to be taken back as one step."""

from __future__ import annotations

from collections import defaultdict
from operator import itemgetter
from typing import NamedTuple

from django.contrib.auth.models import User

from annotation.errors import AnnotationError
from annotation.models import CorrectionBatch, Project
from annotation.models.sql import parts_by_key
from annotation.pipeline.ingest.label_columns import check_label_columns, forget_reference
from annotation.pipeline.ingest.reference_labels import label_finder, plain_label
from annotation.pipeline.review.bulk import Choice, start_batch

_ROWS = 5_000


class Taken(NamedTuple):
    """What was taken: a bulk correction for each person, rows with a label, and rows whose cell names none."""

    batches: list[CorrectionBatch]
    rows: int
    unknown: int


def take_corrections(project: Project, column: str, *, person: str = "", user: User) -> Taken:
    """Correct each row to the label in a column.

    Args:
        person: the column that names who gave the label; a name that is no member's, and no column, count as ``user``.

    Raises:
        AnnotationError: a column is none, or no cell names a label.
    """
    check_label_columns(project, [column, *filter(None, [person])])
    find = label_finder(project)
    place, who = project.columns.index(column), project.columns.index(person) if person else -1
    members = {
        each.user.get_username().casefold(): each.user for each in project.memberships.select_related("user")
    }
    given: dict[User, dict[int, int]] = defaultdict(dict)
    unknown = 0
    rows = project.samples.order_by().values_list("position", "pk", "fields")
    for part in parts_by_key(rows, "position", _ROWS, itemgetter(0)):
        for _position, pk, cells in part:
            label = find(cells[place])
            if label is not None:
                name = cells[who].strip().casefold() if who >= 0 else ""
                given[members.get(name, user)][pk] = label
            elif plain_label(cells[place]):
                unknown += 1
    if not given:
        raise AnnotationError(
            "No cell of the chosen columns names a label of the project. Choose other columns, or correct the labels."
        )
    forget_reference(project, [column])
    batches = [
        start_batch(
            project, Choice(samples=list(labels), labels=labels, include_corrected=False), user=corrector
        )
        for corrector, labels in given.items()
    ]
    return Taken(batches, sum(map(len, given.values())), unknown)
