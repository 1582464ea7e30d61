from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from annotation.models.project import Project
from annotation.models.sample import Sample


class AuditDraw(models.Model):
    """A row drawn at random to measure the file, kept apart from the rows that are chosen because they look wrong.

    A draw is a stratified random sample of all rows that had a label at ``drawn_at`` and that no person had decided alone.
    Its row counts as answered if the first label that somebody gave it alone was given blind.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="audit_draws")
    sample = models.ForeignKey(Sample, on_delete=models.CASCADE, related_name="audit_draws")
    draw_number = models.PositiveIntegerField(help_text=_("Counts the draws of a project, from 1."))
    round = models.PositiveIntegerField(help_text=_("The round whose agreement and risk made the strata."))
    stratum = models.CharField(max_length=40)
    stratum_rows = models.PositiveIntegerField(
        help_text=_("Rows that could have been drawn in this stratum.")
    )
    stratum_drawn = models.PositiveIntegerField(help_text=_("How many of them were."))
    frame_rows = models.PositiveIntegerField(help_text=_("Rows that could have been drawn in all strata."))
    covers_bulk = models.BooleanField(
        default=False, help_text=_("Whether rows that were corrected in bulk before could have been drawn.")
    )
    chance = models.FloatField(
        null=True,
        blank=True,
        help_text=_(
            "Of a row drawn for the certificate, the probability with which it was drawn from all rows then open."
        ),
    )
    least = models.FloatField(
        null=True, blank=True, help_text=_("The smallest such probability of any of those rows.")
    )
    expected = models.FloatField(
        null=True, blank=True, help_text=_("Wrong rows among those, as the models' risk had it.")
    )
    spread = models.FloatField(
        null=True,
        blank=True,
        help_text=_("Variance of one over the probability times wrong, as the models' risk had it."),
    )
    drawn_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    drawn_at = models.DateTimeField()

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["project", "sample"], name="rows_are_drawn_once")]

    def __str__(self) -> str:
        return f"row {self.sample_id} of draw {self.draw_number} of {self.project}"

    @property
    def weight(self) -> float:
        """How many rows this one stands for: one over its probability of being drawn."""
        return self.stratum_rows / self.stratum_drawn
