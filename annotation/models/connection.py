from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotation.models.secret import EncryptedTextField
from mlcore.config import LlmConfig

_HOST = re.compile(
    r"\*|(\*\.)?\w([\w-]*\w)?(\.\w([\w-]*\w)?)*\.?(:\d{1,5})?|\[[0-9a-f:.]+\](:\d{1,5})?|[0-9a-f]*:[0-9a-f:.]+"
)


class ConnectionSettings(models.Model):
    """How a language model is reached and asked, and what was found out of it."""

    llm_settings = models.JSONField(default=dict, blank=True)
    llm_token = EncryptedTextField(blank=True, default="")
    llm_headers = EncryptedTextField(
        blank=True,
        default="",
        help_text=gettext_lazy("What else the server wants in the head of a call, a line each."),
    )
    llm_capabilities = models.JSONField(
        default=dict,
        blank=True,
        help_text=gettext_lazy("What was found out of the server, and of which one."),
    )
    llm_test = models.JSONField(
        default=dict, blank=True, help_text=gettext_lazy("What the last test of the connection showed.")
    )

    class Meta:
        abstract = True

    @property
    def llm_config(self) -> LlmConfig:
        return LlmConfig.from_dict(self.llm_settings)


class Connection(ConnectionSettings):
    """A further language model of a project, beside the project's own: rounds may ask it, and its answers are compared."""

    project = models.ForeignKey("annotation.Project", on_delete=models.CASCADE, related_name="connections")
    name = models.CharField(gettext_lazy("name"), max_length=80)

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="connection_names_differ")]

    def __str__(self) -> str:
        return self.name


class AllowedHost(models.Model):
    """A host that projects may call as a server of language models, besides those of the settings."""

    host = models.CharField(
        gettext_lazy("host"),
        max_length=260,
        unique=True,
        help_text=gettext_lazy(
            "Such as api.example.com, or 10.0.0.7:8080 for one port alone; *.example.com for all hosts below it, * for all "
            "public ones. An internal host must be named itself."
        ),
    )
    note = models.CharField(gettext_lazy("note"), max_length=200, blank=True)
    added_at = models.DateTimeField(gettext_lazy("added"), auto_now_add=True)

    class Meta:
        ordering = ["host"]
        verbose_name = gettext_lazy("allowed host")
        verbose_name_plural = gettext_lazy("allowed hosts")

    def __str__(self) -> str:
        return self.host

    def clean_fields(self, exclude: Any = None) -> None:
        """A whole address is taken for its host."""
        host = self.host.strip().lower()
        self.host = urlsplit(host).netloc if "://" in host else host
        super().clean_fields(exclude)

    def clean(self) -> None:
        if not _HOST.fullmatch(self.host):
            raise ValidationError(
                {
                    "host": _("“%(host)s” is no host. Write it as in an address, such as api.example.com.")
                    % {"host": self.host}
                }
            )
        if settings.LLM_HOSTS_ARE_FIXED and self.host not in settings.LLM_ALLOWED_HOSTS:
            sentence = _(
                "CORAL_LLM_ALLOWED_HOSTS is set on this server to %(hosts)s, and nothing beyond it can be allowed here. "
                "Add the host there, or remove that setting, and restart."
            )
            raise ValidationError(
                {"host": sentence % {"hosts": ", ".join(settings.LLM_ALLOWED_HOSTS) or "–"}}
            )
