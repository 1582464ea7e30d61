from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from annotation.models.project import Project


class SavedFilterQuerySet(models.QuerySet["SavedFilter"]):
    def visible_to(self, user: User) -> SavedFilterQuerySet:
        """The user's own, and those that others share."""
        return self.filter(Q(owner=user) | Q(is_shared=True))


class SavedFilter(models.Model):
    """A filter and an order of a project's table under a name, for its owner or for all members."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="saved_filters")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_filters"
    )
    name = models.CharField(_("name"), max_length=80)
    query = models.CharField(
        max_length=2_000, help_text=_("As it stands in the table's address, with its question mark.")
    )
    is_shared = models.BooleanField(_("for all members"), default=False)

    objects = SavedFilterQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "owner", "name"], name="saved_filters_differ")
        ]

    def __str__(self) -> str:
        return self.name
