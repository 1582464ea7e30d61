"""A connection to a language model: where it may go, its secrets, and what was found out of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.translation import gettext as _

from annotation.errors import AnnotationError
from annotation.models import AllowedHost, Connection, ConnectionSettings
from annotation.models.secret import UnreadableSecret, readable
from mlcore.config import LlmConfig

if TYPE_CHECKING:
    from mlcore.llm.endpoint.capabilities import Capabilities


def allowed_hosts() -> list[str]:
    """The hosts that calls may go to: those of the settings, and where the environment sets none, the administrators'."""
    if settings.LLM_HOSTS_ARE_FIXED:
        return list(settings.LLM_ALLOWED_HOSTS)
    return [*settings.LLM_ALLOWED_HOSTS, *AllowedHost.objects.values_list("host", flat=True)]


def token_end(connected: ConnectionSettings) -> str:
    """Enough of a stored token to know it by, and no more; short tokens show nothing of themselves."""
    token = connected.llm_token
    if isinstance(token, UnreadableSecret):
        return _("a token that can't be decrypted with the available keys; enter it again")
    return "…" + (token[-4:] if len(token) >= 12 else "") if token else ""


def headers_of(connected: ConnectionSettings) -> dict[str, str]:
    """The headers that every call has besides the usual ones.

    Raises:
        AnnotationError: they can't be decrypted.
    """
    lines = (line.partition(":") for line in readable(connected.llm_headers).splitlines())
    return {name.strip(): value.strip() for name, _colon, value in lines}


def header_names(connected: ConnectionSettings) -> list[str]:
    """Which headers are stored, for a page; never their values."""
    return [line.partition(":")[0] for line in connected.llm_headers.splitlines()]


def known_of(connected: ConnectionSettings, config: LlmConfig) -> Capabilities | None:
    """What an earlier run found out of this very connection."""
    from mlcore.llm.endpoint.capabilities import Capabilities

    stored = connected.llm_capabilities
    if stored.get("of") != identity_of(config):
        return None
    return Capabilities.from_dict(stored["capabilities"])


def remember(connected: ConnectionSettings, config: LlmConfig, capabilities: Capabilities | None) -> None:
    """Keep what a run found out."""
    if capabilities is None:
        return
    stored: dict[str, Any] = {"of": identity_of(config), "capabilities": capabilities.as_dict()}
    if stored != connected.llm_capabilities:
        connected.llm_capabilities = stored
        connected.save(update_fields=["llm_capabilities"])


def save_connection(connection: Connection) -> None:
    """Store a further connection under its name, before its settings.

    Raises:
        AnnotationError: the project has another one of this name.
    """
    others = Connection.objects.filter(project=connection.project, name=connection.name).exclude(
        pk=connection.pk
    )
    if others.exists():
        raise AnnotationError(
            "There is another LLM named “%(name)s”. Choose another name.", name=connection.name
        )
    connection.save()


def remove_connection(connection: Connection) -> None:
    """Remove a further connection with its secrets.

    Raises:
        AnnotationError: a round asked it, and may still be resumed with it.
    """
    if connection.iterations.exists():
        raise AnnotationError(
            "“%(name)s” has labelled rows in a round, so it stays. Its token can be removed.",
            name=connection.name,
        )
    connection.delete()


def identity_of(config: LlmConfig) -> list[str]:
    """What names a server and a model."""
    return [config.kind, config.base_url, config.provider, config.model, config.extra_body]
