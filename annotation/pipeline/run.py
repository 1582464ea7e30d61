"""One run of the LLM over a round's rows: what it works on, and what its stage is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from annotation import jobs
from annotation.models import Iteration
from annotation.pipeline.answers import RememberingModel
from mlcore.config import LlmConfig
from mlcore.records import Answer


@dataclass
class LabelingRun:
    """A claimed LLM stage, its round, and the model that is asked.

    Attributes:
        cached: answers that came from the cache, over all attempts.
    """

    claim: jobs.Claim
    iteration: Iteration
    config: LlmConfig
    model: RememberingModel
    cached: int = field(init=False)
    _tokens_in: int = field(init=False)
    _tokens_out: int = field(init=False)
    _steps: int = 0

    def __post_init__(self) -> None:
        stage = self.claim.stage
        self.cached = stage.detail_value("cached", 0)
        self._tokens_in, self._tokens_out = stage.tokens_in, stage.tokens_out

    def should_stop(self) -> bool:
        return self.claim.should_stop()

    def begin_phase(self, phase: str, *, steps: int) -> None:
        """Enter a phase before the rows' own, with progress of its own."""
        self._steps = 0
        self.claim.report(phase=phase, detail={"phase_done": 0, "phase_total": steps}, force=True)

    def count_in_phase(self, batch: Sequence[Answer]) -> None:
        self._steps += len(batch)
        self.count(batch)
        self.claim.report(detail={"phase_done": self._steps})

    def count(self, batch: Sequence[Answer]) -> None:
        """Add what these answers cost. Call it in the transaction that stores them, so that none is counted twice."""
        self.cached += sum(answer.cached for answer in batch)
        self._tokens_in += sum(answer.tokens_in for answer in batch)
        self._tokens_out += sum(answer.tokens_out for answer in batch)
        self.claim.report(
            tokens_in=self._tokens_in,
            tokens_out=self._tokens_out,
            detail={"cached": self.cached},
            force=True,
        )
