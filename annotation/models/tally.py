from __future__ import annotations

from django.db import models

from annotation.models.project import Project


class Tally(models.Model):
    """How many rows a project has, and how many of each flag: a copy of a count over all rows, so that a page need not
    count a million. It holds as long as its stamp is that of the stages that write rows; see :mod:`annotation.table.counts`."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="tally")
    stamp = models.CharField(max_length=200)
    rows = models.PositiveIntegerField()
    flags = models.JSONField()

    def __str__(self) -> str:
        return f"{self.rows} rows of {self.project}"
