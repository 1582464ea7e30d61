"""Which rows are longer than what the language model is shown of a text."""

from __future__ import annotations

from django.db.models import TextField
from django.db.models.functions import Cast, Length

from annotation.models import Project
from annotation.pipeline.engine_rows import as_row


def count_cut_rows(project: Project, characters: int) -> int:
    """Rows of which the model reads the beginning and the end only."""
    if project.task.student == "text":
        return project.samples.annotate(size=Length("text")).filter(size__gt=characters).count()
    # Only some of a table's columns are shown, so those that are long as stored are looked at one by one.
    stored = project.samples.annotate(size=Length(Cast("fields", TextField())))
    longest_names = sum(len(name) + 3 for name in project.columns)
    long = stored.filter(size__gt=characters - longest_names).iterator(500)
    return sum(len(project.task.show(as_row(sample, project))) > characters for sample in long)
