from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _


class SubmittedBatch(models.Model):
    """Rows that a stage asks about by a batch at a server. It is stored before it is submitted, so that a run that died
    in between finds it again by its key."""

    stage = models.ForeignKey("annotation.Stage", on_delete=models.CASCADE)
    key = models.UUIDField(default=uuid.uuid4, unique=True)
    remote_id = models.CharField(max_length=200, blank=True)
    rows = models.JSONField(help_text=_("Ids of the rows."))
    sweep = models.PositiveSmallIntegerField()
    last_position = models.PositiveIntegerField(help_text=_("Of its rows, in the corpus."))
    most = models.JSONField(help_text=_("Tokens read and written that it can cost at most."))
    submitted_at = models.DateTimeField(auto_now_add=True)
    collected_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"batch {self.remote_id or self.key} of stage {self.stage_id}"


class CachedAnswer(models.Model):
    """What a language model once answered to a question of an owner, so that nobody pays for it twice.

    It belongs to the owner and not to a project: the same question comes again in later rounds, in other projects, and
    after a crash. Failed calls are never kept here.
    """

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=64, help_text=_("SHA-256 of all that decides the answer."))
    label = models.SmallIntegerField(help_text=_("Index in the question's labels; -1 if unreadable."))
    probs = models.JSONField(null=True, blank=True, help_text=_("In the order of the question's labels."))
    stated = models.FloatField(null=True, blank=True, help_text=_("The confidence that the model stated."))
    raw = models.TextField(blank=True)
    tokens_in = models.PositiveIntegerField(default=0)
    tokens_out = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["owner", "key"], name="one_answer_per_question")]

    def __str__(self) -> str:
        return f"answer {self.key[:8]} of {self.owner_id}"
