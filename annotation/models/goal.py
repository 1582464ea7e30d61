from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from annotation.models.project import Project
from annotation.models.round import Stage


class Goal(models.Model):
    """How accurate a project's file is to be, and what that may take. Append-only: the newest goal holds, and who changed
    what and when is read from the ones before it. An empty limit is none."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="goals")
    target = models.FloatField(_("target"), default=0.95, help_text=_("Share of right labels, 0 to 1."))
    confidence = models.FloatField(_("confidence"), default=0.95)
    money = models.FloatField(_("budget (cost)"), null=True, blank=True)
    tokens = models.PositiveBigIntegerField(_("budget (tokens)"), null=True, blank=True)
    minutes = models.PositiveIntegerField(_("people's minutes"), null=True, blank=True)
    until = models.DateTimeField(_("finish by"), null=True, blank=True)
    webhook = models.CharField(_("webhook"), max_length=500, blank=True)
    autopilot = models.BooleanField(_("autopilot"), default=False)
    set_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.target:.1%} of {self.project}"


class PlanStep(models.Model):
    """A step of the plan that was begun, with what was forecast of it and, once it has ended, what came of it."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="plan_steps")
    kind = models.CharField(max_length=20)  # of mlcore.plan.Step
    stage = models.ForeignKey(
        Stage, null=True, blank=True, on_delete=models.SET_NULL, related_name="plan_steps"
    )
    rows = models.PositiveIntegerField(default=0)
    forecast = models.JSONField(help_text=_("Accuracy, cost and minutes as they were expected."))
    outcome = models.JSONField(null=True, blank=True)
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    by_autopilot = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.kind} of {self.project}"
