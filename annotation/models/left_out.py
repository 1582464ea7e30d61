from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from annotation.models.project import Upload


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
