from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from annotation.models.secret import EncryptedTextField


class Deployment(models.Model):
    """What all machines must agree with, as the web server saw it when it started. There is one row."""

    version = models.CharField(max_length=40, help_text=_("Of the program."))
    folder = models.CharField(max_length=40, help_text=_("A random mark that lies in the data folder."))
    probe = EncryptedTextField(help_text=_("A known text; whoever reads it has the key of the API tokens."))

    def __str__(self) -> str:
        return f"version {self.version}"


class DrainedMachine(models.Model):
    """A machine whose workers take no work, since somebody is about to stop it."""

    name = models.CharField(
        _("name"),
        max_length=80,
        unique=True,
        help_text=_(
            "As the worker of a job has it before the colon. Its workers hand over what they do and take nothing new."
        ),
    )
    note = models.CharField(_("note"), max_length=200, blank=True)
    since = models.DateTimeField(_("since"), auto_now_add=True)

    class Meta:
        ordering = ["name"]
        verbose_name = _("drained machine")
        verbose_name_plural = _("drained machines")

    def __str__(self) -> str:
        return self.name
