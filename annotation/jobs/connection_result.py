"""The result of a connection's test, in the JSON column ``llm_test``."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from annotation.jobs.details import Json, Stored


@dataclass(frozen=True, kw_only=True)
class ConnectionTest(Stored):
    """What a test of a connection showed, as it is kept with the connection.

    ``of``: the server and model; ``refused``: rows that the model or its provider refused, with the reason; tokens,
    seconds and cost are those of the answer; ``all_tokens``, ``thoughts`` and ``calls`` of everything that was sent.
    """

    of: list[str] = field(default_factory=list)
    at: str = ""
    row: str = ""
    label: str = ""
    raw: str = ""
    confidence: float | None = None
    stated: float | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    all_tokens: int = 0
    thoughts: int = 0
    calls: int = 0
    refused: list[Json] = field(default_factory=list)
    error: Json | str = ""
    capabilities: Json = field(default_factory=dict)
    cost: float = 0.0
    models: list[str] = field(default_factory=list)

    @property
    def when(self) -> datetime | None:
        return datetime.fromisoformat(self.at) if self.at else None

    @property
    def cost_of_thousand(self) -> float:
        return 1_000 * self.cost
