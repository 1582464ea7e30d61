from __future__ import annotations

from django.db import models

from annotation.models.project import Project


class TextPage(models.Model):
    """A page of the index by which a project's equal texts are found; ``pipeline/same_texts.py`` reads and writes it.

    The rows from one position to another are a run: their entries, ascending by hash, cut into pages. The keys stand
    before the positions, because an import reads them all, and seldom a position.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="text_pages")
    run_start = models.PositiveIntegerField(help_text="The first position of the run.")
    run_end = models.PositiveIntegerField(help_text="The position behind the run's last.")
    smallest = models.PositiveBigIntegerField(help_text="The first key.")
    largest = models.PositiveBigIntegerField(help_text="The last key.")
    keys = models.BinaryField(help_text="Of each entry the first 32 bits of the content hash.")
    positions = models.BinaryField(help_text="Of each entry the position, in 32 bits.")

    def __str__(self) -> str:
        return f"texts of rows {self.run_start + 1} to {self.run_end} of {self.project}"
