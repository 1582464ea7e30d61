"""Columns of the rows that hold labels which are to count, not to measure."""

from __future__ import annotations

from collections.abc import Sequence

from annotation.errors import AnnotationError
from annotation.models import Project


def check_label_columns(project: Project, columns: Sequence[str]) -> None:
    """Raise AnnotationError if labels can't stand in these columns."""
    if not columns:
        raise AnnotationError("Choose at least one column that holds labels.")
    for name in columns:
        if name not in project.columns or name in project.content_columns or name == project.id_column:
            raise AnnotationError(
                "“%(name)s” can't hold labels: it is no column of the rows, or content, or the id.", name=name
            )


def forget_reference(project: Project, columns: Sequence[str]) -> None:
    """A column whose labels count from now on measures nothing any more."""
    if project.reference_column in columns:
        project.samples.filter(reference__isnull=False).update(reference=None)
        project.reference_column = ""
        project.save(update_fields=["reference_column"])
