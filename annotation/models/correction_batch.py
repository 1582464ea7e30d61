from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from annotation.models.project import Label, Project
from annotation.models.round import Stage


class CorrectionBatch(models.Model):
    """Many rows that a person accepted or relabelled in one go, or took back again: what was asked for. What it did is in
    its corrections."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="correction_batches")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    label = models.ForeignKey(
        Label,
        null=True,
        blank=True,
        on_delete=models.RESTRICT,
        related_name="+",
        help_text=_("Empty: every row's own label is accepted."),
    )
    query = models.CharField(
        max_length=2_000, blank=True, help_text=_("The filter, if all rows that it matches were meant.")
    )
    samples = models.JSONField(
        null=True, blank=True, help_text=_("The ids of the rows, if they were chosen.")
    )
    labels = models.JSONField(
        null=True,
        blank=True,
        help_text=_("The label of each row by its id, where rows get labels of their own."),
    )
    include_corrected = models.BooleanField(default=False)
    undoes = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.CASCADE, related_name="undone_by"
    )
    stage = models.OneToOneField(
        Stage, null=True, blank=True, on_delete=models.SET_NULL, related_name="correction_batch"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "correction batches"

    def __str__(self) -> str:
        return f"batch {self.pk} of {self.project}"

    @property
    def rows(self) -> int:
        """How many rows it changes, or is to change in the background."""
        return self.stage.total if self.stage else self.corrections.count()
