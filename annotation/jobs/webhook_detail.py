"""What a call of a webhook stores in its stage."""

from __future__ import annotations

from dataclasses import dataclass, field

from annotation.jobs.details import Detail, Json


@dataclass(frozen=True, kw_only=True)
class WebhookDetail(Detail):
    """A call of a webhook. ``facts``: what is told; ``tries`` of which the last one was answered with ``answer``."""

    address: str = ""
    event: str = ""
    facts: Json = field(default_factory=dict)
    tries: int = 0
    answer: int | None = None
