from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from annotation.models.connection import ConnectionSettings
from mlcore.config import DistillConfig
from mlcore.prompting.prompts import PromptTemplate
from mlcore.prompting.tasks import Task, task_named
from mlcore.records import Label as EngineLabel
from mlcore.records import LabelSet

if TYPE_CHECKING:
    from annotation.models.round import Iteration


class Role(models.TextChoices):
    OWNER = "owner", _("Owner")
    REVIEWER = "reviewer", _("Reviewer")
    VIEWER = "viewer", _("Viewer")


class ProjectQuerySet(models.QuerySet["Project"]):
    def visible_to(self, user: User | AnonymousUser) -> ProjectQuerySet:
        """Projects that the user is a member of. Staff see others' projects in the admin only."""
        return self.filter(memberships__user=user) if user.is_authenticated else self.none()

    def in_use(self) -> ProjectQuerySet:
        """Projects that nobody put away."""
        return self.filter(put_away_at__isnull=True)

    def put_away_by(self, owner: User) -> ProjectQuerySet:
        """Projects that were put away and that this owner may take back or delete."""
        owned = self.filter(memberships__user=owner, memberships__role=Role.OWNER)
        return owned.filter(put_away_at__isnull=False).order_by("-put_away_at")


class Project(ConnectionSettings):
    """A corpus, its labels, and how it is labelled."""

    class TaskType(models.TextChoices):
        SENTIMENT = "sentiment", _("Sentiment analysis")
        TOPIC = "topic", _("Topic classification")
        TABULAR = "tabular", _("Tabular prediction")

    class UnknownReferences(models.TextChoices):
        WRONG = "wrong", _("count as wrong")
        LEFT_OUT = "left-out", _("are left out of the accuracy")

    name = models.CharField(_("name"), max_length=120)
    task_type = models.CharField(
        _("task type"), max_length=20, choices=TaskType.choices, default=TaskType.SENTIMENT
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="owned_projects"
    )

    columns = models.JSONField(
        default=list, blank=True, help_text=_("Names of the uploaded columns, in order.")
    )
    content_columns = models.JSONField(
        default=list, blank=True, help_text=_("The columns that the models see.")
    )
    column_kinds = models.JSONField(
        default=dict,
        blank=True,
        help_text=_("What columns of a table hold, where somebody said so: number, category or text."),
    )
    id_column = models.CharField(max_length=200, blank=True)
    reference_column = models.CharField(max_length=200, blank=True)
    unknown_references = models.CharField(
        _("rows whose reference label is none of these"),
        max_length=10,
        choices=UnknownReferences.choices,
        default=UnknownReferences.WRONG,
    )

    prompt_description = models.TextField(_("task description"), blank=True)
    prompt_demonstration = models.TextField(_("in-context demonstration"), blank=True)
    prompt_output = models.TextField(_("output control"), blank=True)

    slm_settings = models.JSONField(default=dict, blank=True)
    chain_stages = models.BooleanField(
        _("start SLM filtering automatically"),
        default=True,
        help_text=_("Start SLM filtering as soon as LLM labeling is done."),
    )
    double_review_percent = models.PositiveSmallIntegerField(
        _("rows labelled by two people, in percent"),
        default=0,
        help_text=_(
            "A second person labels them without seeing anyone's label; this measures how often people agree."
        ),
    )
    guidelines = models.TextField(
        _("guidelines"), blank=True, help_text=_("Instructions for reviewers, in Markdown.")
    )
    saved_steps = models.JSONField(
        default=list,
        blank=True,
        help_text=_("Steps of the configuration that start with defaults and were saved."),
    )
    created_at = models.DateTimeField(auto_now_add=True)
    put_away_at = models.DateTimeField(
        null=True, blank=True, help_text=_("When the project was archived; an owner can restore it.")
    )

    objects = ProjectQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("annotation:project", args=[self.pk])

    @property
    def task(self) -> Task:
        return task_named(self.task_type)

    @property
    def prompt(self) -> PromptTemplate:
        return PromptTemplate(
            self.prompt_description,
            self.prompt_demonstration,
            self.prompt_output,
            characters=self.llm_config.characters,
            fenced=self.llm_config.is_fenced,
        )

    @property
    def distill_config(self) -> DistillConfig:
        return DistillConfig(**self.slm_settings)

    def label_list(self) -> list[Label]:
        return list(self.labels.order_by("position", "id"))

    def label_set(self, labels: Sequence[Label] | None = None) -> LabelSet:
        """The labels as the engine sees them, in the order of their positions."""
        found = self.label_list() if labels is None else labels
        return LabelSet(tuple(EngineLabel(label.name, label.description) for label in found))

    def round_settings(self, connected: ConnectionSettings | None = None) -> dict[str, Any]:
        """Copies of all that decides a round's outcome, as it is now, with the project's own LLM or a further one."""
        return {
            "labels": [
                {"id": label.pk, "name": label.name, "description": label.description}
                for label in self.label_list()
            ],
            "prompt": {
                "description": self.prompt_description,
                "demonstration": self.prompt_demonstration,
                "output": self.prompt_output,
            },
            "llm_settings": (connected or self).llm_settings,
            "slm_settings": self.slm_settings,
        }

    def latest_iteration(self) -> Iteration | None:
        return self.iterations.order_by("-number").first()


class Membership(models.Model):
    """What a user may do in a project."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices)
    columns = models.JSONField(
        default=list,
        blank=True,
        help_text=_("The columns of the table that the member wants to see; empty: the usual."),
    )

    invitation = models.ForeignKey(
        "annotation.Invitation",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text=_("The link that the member came by."),
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "user"], name="one_role_per_member")]

    def __str__(self) -> str:
        return f"{self.user}: {self.role} of {self.project}"


class Label(models.Model):
    """One class of a project."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="labels")
    name = models.CharField(_("name"), max_length=100)
    description = models.CharField(_("description"), max_length=500, blank=True)
    colour = models.PositiveSmallIntegerField(_("colour"), default=0, help_text=_("Index in the palette."))
    key = models.CharField(_("key"), max_length=1, blank=True)
    position = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ["position", "id"]
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="label_names_differ")]

    def __str__(self) -> str:
        return self.name
