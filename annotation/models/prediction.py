from __future__ import annotations

from collections.abc import Sequence

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from annotation.models.project import Label
from annotation.models.round import Iteration, Stage
from annotation.models.sample import Flag, Sample, Source, Verdict
from annotation.models.sql import among


class PredictionQuerySet(models.QuerySet["Prediction"]):
    def answers_to(self, samples: Sequence[int], *, source: str) -> PredictionQuerySet:
        """A source's answers to these rows; a failed call is no answer.

        The range of row ids is one range of the unique index. By the ids alone PostgreSQL may read a whole round each
        time, since its statistics don't know a round that has just begun.
        """
        if not samples:
            return self.none()
        within = Q(sample__gte=min(samples), sample__lte=max(samples))
        return self.filter(within, source=source, error="", sample__in=among(samples)).order_by("sample_id")


class Prediction(models.Model):
    """What a model said of a row in a round. The unique constraint makes every write repeatable."""

    class ModelKind(models.TextChoices):
        LLM = "llm", _("LLM")
        SLM = "slm", _("SLM")

    class Origin(models.TextChoices):
        """Where the LLM's answer came from."""

        ASKED = "", _("asked in this round")
        CACHE = "cache", _("answered from the cache")
        EARLIER = "earlier", _("kept from an earlier round")

    sample = models.ForeignKey(Sample, on_delete=models.CASCADE, related_name="predictions")
    # Without an index of its own: the unique constraint begins with it, and a planner that knows nothing of a new round
    # would read all of the round by it.
    iteration = models.ForeignKey(
        Iteration, on_delete=models.CASCADE, related_name="predictions", db_index=False
    )
    source = models.CharField(max_length=3, choices=ModelKind.choices)
    label = models.ForeignKey(Label, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    probs = models.JSONField(
        null=True, blank=True, help_text=_("As the model gave them, in the round's label order.")
    )
    stated = models.FloatField(
        null=True,
        blank=True,
        help_text=_(
            "The confidence that the LLM stated of its label, where the server gives no log-probabilities."
        ),
    )
    calibrated = models.JSONField(
        null=True,
        blank=True,
        help_text=_("The distribution with the class bias removed, or made of the stated confidence."),
    )
    raw = models.TextField(blank=True)
    second_raw = models.TextField(  # noqa: DJ001 - an empty answer is an answer
        null=True,
        blank=True,
        help_text=_("What the LLM answered when it was asked once more, in other words."),
    )
    error = models.TextField(blank=True)
    origin = models.CharField(max_length=7, choices=Origin.choices, default=Origin.ASKED, blank=True)
    # Of the SLM only:
    loss = models.FloatField(null=True, blank=True)
    clean_prob = models.FloatField(null=True, blank=True)
    clean_rank = models.PositiveIntegerField(null=True, blank=True)
    x = models.FloatField(null=True, blank=True)
    y = models.FloatField(null=True, blank=True)
    verdict = models.ForeignKey(Label, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    risk = models.FloatField(null=True, blank=True)
    flag = models.CharField(max_length=12, choices=Flag.choices, default=Flag.NONE, blank=True)
    queue_rank = models.PositiveIntegerField(null=True, blank=True)

    objects = PredictionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["iteration", "source", "sample"], name="one_prediction_per_row_round_and_model"
            )
        ]
        indexes = [
            # The few thousand rows of the map, however many rows the round has.
            models.Index(fields=["iteration", "id"], condition=Q(x__isnull=False), name="prediction_on_map")
        ]

    def __str__(self) -> str:
        return f"{self.source} on {self.sample_id} in {self.iteration_id}"

    def as_verdict(self, llm_label_id: int | None) -> Verdict:
        """What the row gets from this prediction of the small model, beside the label that the LLM gave it."""
        assert self.verdict_id
        assert self.label_id
        return Verdict(
            sample_id=self.sample_id,
            label_id=self.verdict_id,
            source=Source.LLM if self.verdict_id == llm_label_id else Source.SLM,
            risk=self.risk or 0.0,
            slm_label_id=self.label_id,
            confidence=max(self.probs or [0.0]),
            clean_prob=self.clean_prob,
            clean_rank=self.clean_rank or 0,
            flag=self.flag,
            queue_rank=self.queue_rank or 0,
        )


class EpochRows(models.Model):
    """What the networks of a training say of the rows on its map, and of the first rows, after the newest epoch. Shown while
    it runs, and gone once its verdicts are stored."""

    stage = models.OneToOneField(Stage, on_delete=models.CASCADE, primary_key=True, related_name="epoch_rows")
    epoch = models.PositiveIntegerField()
    rows = models.JSONField(
        help_text=_("By the row's id: label id, confidence, clean probability, rank, flag, x, y, row number.")
    )

    def __str__(self) -> str:
        return f"{self.stage}: epoch {self.epoch}"
