"""A project's connection to its language model: headers, and what was found out of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annotation.models import Project
from annotation.models.secret import readable
from mlcore.config import LlmConfig

if TYPE_CHECKING:
    from mlcore.llm.endpoint.capabilities import Capabilities


def headers_of(project: Project) -> dict[str, str]:
    """The headers that every call has besides the usual ones.

    Raises:
        AnnotationError: they can't be decrypted.
    """
    lines = (line.partition(":") for line in readable(project.llm_headers).splitlines())
    return {name.strip(): value.strip() for name, _colon, value in lines}


def header_names(project: Project) -> list[str]:
    """Which headers are stored, for a page; never their values."""
    return [line.partition(":")[0] for line in project.llm_headers.splitlines()]


def known_of(project: Project, config: LlmConfig) -> Capabilities | None:
    """What an earlier run found out of this very connection."""
    from mlcore.llm.endpoint.capabilities import Capabilities

    stored = project.llm_capabilities
    if stored.get("of") != _identity(config):
        return None
    return Capabilities.from_dict(stored["capabilities"])


def remember(project: Project, config: LlmConfig, capabilities: Capabilities | None) -> None:
    """Keep what a run found out."""
    if capabilities is None:
        return
    stored: dict[str, Any] = {"of": _identity(config), "capabilities": capabilities.as_dict()}
    if stored != project.llm_capabilities:
        project.llm_capabilities = stored
        project.save(update_fields=["llm_capabilities"])


def _identity(config: LlmConfig) -> list[str]:
    return [config.kind, config.base_url, config.provider, config.model, config.extra_body]
