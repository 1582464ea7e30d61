"""What is stored of a round: how right each kind of label is, and how the rows fall to labels and flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from annotation.jobs.details import Stored

if TYPE_CHECKING:
    from annotation.models import Iteration


@dataclass(frozen=True, kw_only=True)
class ModelMetrics(Stored):
    """One kind of label in a round. Shares are 0 to 1; None where there is nothing to compare with."""

    reference_rows: int = 0
    unknown_references: int = 0  # of the reference rows, those whose reference is no label
    right: int = 0
    accuracy: float | None = None
    rows: int = 0
    unreadable: int = 0
    failed: int = 0
    clean_share: float | None = None
    agreement: float | None = None


@dataclass(frozen=True, kw_only=True)
class RoundMetrics(Stored):
    """What a round has reached. ``final``: the labels then in force, people's included; ``queue``: see risk_curve."""

    llm: ModelMetrics = field(default_factory=ModelMetrics)
    slm: ModelMetrics = field(default_factory=ModelMetrics)
    verdict: ModelMetrics = field(default_factory=ModelMetrics)
    final: ModelMetrics = field(default_factory=ModelMetrics)
    flags: dict[str, int] = field(default_factory=dict)
    flips: int | None = None
    rows: dict[str, int] | None = None  # of each label id
    queue: dict[str, list[float]] | None = None

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        parts = ("llm", "slm", "verdict", "final")
        return super().from_json(
            {**stored, **{name: ModelMetrics.from_json(stored.get(name, {})) for name in parts}}
        )

    @classmethod
    def of(cls, iteration: Iteration) -> Self:
        return cls.from_json(iteration.metrics)
