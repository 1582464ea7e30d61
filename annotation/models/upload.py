from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from annotation.models.project import Project


class Upload(models.Model):
    """A file as it was uploaded, and how it is to be read. The file lies under a random name."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="uploads")
    name = models.CharField(max_length=255)
    stored_name = models.CharField(max_length=64, unique=True)
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    reading = models.JSONField(
        default=dict, help_text=_("Format, encoding, delimiter, sheet: detected, and changeable.")
    )
    columns = models.JSONField(default=list)
    preview = models.JSONField(default=list)
    report = models.JSONField(default=dict, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Any:
        return settings.UPLOAD_DIR / self.stored_name


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


class LeftOutRow(models.Model):
    """A row of an uploaded file that was not imported, and why."""

    class Outcome(models.TextChoices):
        REJECTED = "rejected", _("rejected")
        DUPLICATE = "duplicate", _("duplicate")

    upload = models.ForeignKey(Upload, on_delete=models.CASCADE, related_name="left_out")
    line = models.PositiveBigIntegerField(help_text=_("Where the row begins in the file, counted from 1."))
    outcome = models.CharField(max_length=9, choices=Outcome.choices)
    reason = models.TextField()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"
