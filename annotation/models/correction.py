from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from annotation.models.correction_batch import CorrectionBatch
from annotation.models.project import Label
from annotation.models.sample import Sample, Source


class CorrectionQuerySet(models.QuerySet["Correction"]):
    def not_taken_back(self) -> CorrectionQuerySet:
        """Without corrections that were undone, and without the undoing ones."""
        undo = Correction.objects.filter(undoes=models.OuterRef("pk"))
        # The sum keeps SQLite from walking over all that undo nothing, which are nearly all.
        return self.alias(takes_back=models.F("undoes") + 0).filter(
            ~models.Exists(undo), takes_back__isnull=True
        )

    def standing(self) -> CorrectionQuerySet:
        """Labels that people gave and nobody has taken back."""
        return self.not_taken_back().filter(label__isnull=False)

    def of_row_by(self, user: User) -> CorrectionQuerySet:
        """A person's corrections of the outer query's row, without those in bulk, for which nobody need have looked at it."""
        # The sum keeps SQLite from walking over all that the person ever said, once for every row.
        mine = self.alias(who=models.F("user") + 0).filter(sample=models.OuterRef("pk"), who=user.pk)
        return mine.filter(batch__isnull=True)


class Correction(models.Model):
    """A label that a person gave a row; without one, the row went back to the models' label. Append-only: changing one's mind,
    and undoing, make a new record."""

    class Because(models.TextChoices):
        BROWSING = "browsing", _("found while browsing")
        QUEUE = "queue", _("shown by the review queue")
        AUDIT = "audit", _("in the random sample")
        SECOND = "second", _("second annotation, blind")

    sample = models.ForeignKey(Sample, on_delete=models.CASCADE, related_name="corrections")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    label = models.ForeignKey(Label, null=True, blank=True, on_delete=models.RESTRICT, related_name="+")
    replaced_label = models.ForeignKey(
        Label, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    replaced_source = models.CharField(max_length=6, choices=Source.choices, blank=True)
    round = models.PositiveIntegerField(default=0)
    because = models.CharField(max_length=10, choices=Because.choices, default=Because.BROWSING)
    answer_id = models.UUIDField(
        null=True, blank=True, unique=True, help_text=_("Made by the page: a repeated request counts once.")
    )
    undoes = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.CASCADE, related_name="undone_by"
    )
    batch = models.ForeignKey(
        CorrectionBatch,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="corrections",
        db_index=False,
    )
    seconds = models.FloatField(
        null=True, blank=True, help_text=_("How long the person looked at the row, as the page measured it.")
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = CorrectionQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(fields=["sample", "-id"], name="correction_latest"),
            models.Index(fields=["user", "-id"], name="correction_by_person"),
            # A person's last answers in the focus view, however many rows they corrected in bulk since.
            models.Index(
                fields=["user", "-id"], condition=Q(answer_id__isnull=False), name="correction_in_focus"
            ),
            # A large batch is taken back in its order; corrections of single rows don't pay for it.
            models.Index(
                fields=["batch", "id"], condition=Q(batch__isnull=False), name="correction_of_batch"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} on {self.sample_id}: {self.label_id}"
