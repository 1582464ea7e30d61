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
