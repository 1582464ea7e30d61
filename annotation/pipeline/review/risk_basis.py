"""What the risk of the rows rests on: checked rows, or, where nobody checked any, a guess with a range."""

from __future__ import annotations

from dataclasses import dataclass

from annotation.jobs import kinds
from annotation.jobs.details import TrainingDetail
from annotation.models import Project
from annotation.pipeline.measure.draw_sample import FIRST_ROWS, open_draws


@dataclass(frozen=True, slots=True)
class RiskBasis:
    """What the newest verdict's risk rests on.

    Attributes:
        known: whether it was fitted to rows that people checked; otherwise it is a guess.
        low, high: the range of the share of wrong labels among the open rows.
        waiting: drawn rows that nobody has answered yet.
        rows: how many random answers make the risk known.
    """

    known: bool
    low: float
    high: float
    waiting: int
    rows: int = FIRST_ROWS


def risk_basis(project: Project) -> RiskBasis | None:
    """The basis of the risks that the rows carry; None before the small model has judged, or for what judged without telling."""
    current = project.iterations.in_force()
    stage = current.stage(kinds.SLM.key) if current else None
    evidence = TrainingDetail.of(stage).evidence if stage else {}
    if "risk_known" not in evidence:
        return None
    return RiskBasis(
        bool(evidence["risk_known"]),
        evidence["error_low"],
        evidence["error_high"],
        open_draws(project).count(),
    )
