from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from annotation.models.connection import Connection, ConnectionSettings
from annotation.models.project import Project
from annotation.models.sql import from_now


class IterationQuerySet(models.QuerySet["Iteration"]):
    def judged(self) -> IterationQuerySet:
        """Rounds whose SLM filtering came to its end."""
        return self.filter(stages__kind=Iteration.Start.SLM, stages__status=Stage.Status.DONE)

    def in_force(self) -> Iteration | None:
        """The round whose labels the rows carry where no person has decided; None before the first was judged."""
        return self.judged().standing().order_by("number").last()

    def standing(self) -> IterationQuerySet:
        """Rounds that nobody went back from."""
        return self.filter(withdrawn_at__isnull=True)


class Iteration(models.Model):
    """One round: where it started, and frozen copies of everything that decides its outcome."""

    class Start(models.TextChoices):
        LLM = "llm", _("LLM labeling")
        SLM = "slm", _("SLM filtering")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="iterations")
    number = models.PositiveIntegerField()
    started_from = models.CharField(max_length=3, choices=Start.choices)
    labels = models.JSONField(help_text=_("Label ids, names and descriptions as they were."))
    prompt = models.JSONField()
    llm_settings = models.JSONField()
    slm_settings = models.JSONField()
    connection = models.ForeignKey(
        Connection,
        null=True,
        blank=True,
        on_delete=models.RESTRICT,
        related_name="iterations",
        help_text=_("The further language model that was asked; empty for the project's own."),
    )
    ask_all = models.BooleanField(
        default=False, help_text=_("Ask the LLM for every row again, not only for those at risk.")
    )
    demonstrations = models.JSONField(default=list, blank=True)
    seed = models.PositiveIntegerField(default=0)
    metrics = models.JSONField(default=dict, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)
    withdrawn_at = models.DateTimeField(
        null=True, blank=True, help_text=_("When the project was rolled back from this round.")
    )

    objects = IterationQuerySet.as_manager()

    class Meta:
        ordering = ["project", "number"]
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="round_numbers_differ")]

    def __str__(self) -> str:
        return f"{self.project} round {self.number}"

    @property
    def connected(self) -> ConnectionSettings:
        """The connection whose model the round asks."""
        return self.connection or self.project

    def stage(self, kind: str) -> Stage | None:
        return self.stages.filter(kind=kind).first()


class StageQuerySet(models.QuerySet["Stage"]):
    def active(self) -> StageQuerySet:
        return self.filter(status__in=Stage.ACTIVE)

    def overdue(self) -> StageQuerySet:
        """Stages that ought to be at work and are not: the lease ran out, nobody took them up in that time, or the wait
        after a run of failures is over."""
        # Whoever is at work on a stage sees to its waiting parts.
        waiting = Q(
            status=Stage.Status.QUEUED, parent=None, queued_at__lt=from_now(seconds=-settings.LEASE_SECONDS)
        )
        silent = Q(status=Stage.Status.RUNNING, lease_until__lt=Now())
        due = Q(status=Stage.Status.PAUSED, resume_at__lt=Now())
        return self.filter(waiting | silent | due)


class Stage(models.Model):
    """One job: an import, the LLM or the SLM part of a round, an export, or corrections in bulk. This row is the truth about it."""

    class Status(models.TextChoices):
        QUEUED = "queued", _("waiting for a worker")
        RUNNING = "running", _("running")
        PAUSED = "paused", _("paused")
        CANCELLED = "cancelled", _("cancelled")
        FAILED = "failed", _("failed")
        DONE = "done", _("done")

    class RequestedAction(models.TextChoices):
        NONE = "", _("go on")
        PAUSE = "pause", _("pause")
        CANCEL = "cancel", _("cancel")

    ACTIVE = (Status.QUEUED, Status.RUNNING, Status.PAUSED)

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="stages")
    iteration = models.ForeignKey(
        Iteration, null=True, blank=True, on_delete=models.CASCADE, related_name="stages"
    )
    parent = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="parts",
        help_text=_("The stage of whose work this is a part, so that several workers can do it."),
    )
    kind = models.CharField(max_length=20)  # a key of annotation.jobs.kinds.KINDS
    exclusive_group = models.CharField(max_length=20, blank=True)  # the kind's
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED)
    requested_action = models.CharField(
        max_length=10, choices=RequestedAction.choices, default=RequestedAction.NONE, blank=True
    )
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    phase = models.CharField(max_length=40, blank=True)
    epoch = models.PositiveIntegerField(default=0)
    epochs = models.PositiveIntegerField(default=0)
    attempt = models.PositiveIntegerField(
        default=0, help_text=_("Fencing token: only the newest attempt may write.")
    )
    crashes = models.PositiveIntegerField(default=0, help_text=_("Consecutive worker crashes."))
    lease_until = models.DateTimeField(null=True, blank=True)
    worker = models.CharField(
        max_length=100, blank=True, help_text=_("Machine and process that took it up last.")
    )
    queued_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    updated_at = models.DateTimeField(auto_now=True)
    seconds = models.FloatField(default=0.0, help_text=_("Run time over all attempts."))
    resume_at = models.DateTimeField(
        null=True, blank=True, help_text=_("When a paused job is retried automatically.")
    )
    error = models.TextField(blank=True)
    detail = models.JSONField(
        default=dict, blank=True, help_text=_("What this kind of job tells beyond the common fields.")
    )
    granted_tokens = models.PositiveBigIntegerField(
        default=0, help_text=_("What a part may spend of its stage's budget, by now.")
    )
    granted_money = models.FloatField(default=0.0)
    tokens_in = models.PositiveBigIntegerField(default=0)
    tokens_out = models.PositiveBigIntegerField(default=0)
    run_id = models.UUIDField(default=uuid.uuid4, editable=False)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL
    )

    objects = StageQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["status", "lease_until"])]
        constraints = [
            models.UniqueConstraint(
                fields=["iteration", "kind"],
                condition=Q(iteration__isnull=False),
                name="one_stage_of_a_kind_per_round",
            ),
            # A double click, two tabs or a replayed request make one run, not two.
            models.UniqueConstraint(
                fields=["project", "exclusive_group"],
                condition=Q(status__in=["queued", "running", "paused"]) & ~Q(exclusive_group=""),
                name="one_active_stage_per_group",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.project} ({self.status})"

    @property
    def is_active(self) -> bool:
        return self.status in self.ACTIVE

    @property
    def state(self) -> str:
        """The status, or, of a stage at work that is asked to stop, what it is about to be: pausing or cancelling."""
        if self.status == self.Status.RUNNING and self.requested_action:
            return {"pause": "pausing", "cancel": "cancelling"}[self.requested_action]
        return self.status

    @property
    def percent(self) -> int:
        if self.status == self.Status.DONE:
            return 100
        return min(99, self.done * 100 // self.total) if self.total else 0
