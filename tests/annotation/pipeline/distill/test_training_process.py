"""The training process as the stage sees it."""

from __future__ import annotations

from annotation.jobs.sentences import TRAINING_PHASES
from annotation.pipeline.distill.training_process import PHASE_SPANS


def test_every_phase_of_a_training_has_its_part_of_the_bar() -> None:
    assert set(PHASE_SPANS) == set(TRAINING_PHASES)
    ends = [end for _start, end in PHASE_SPANS.values()]
    assert ends == sorted(ends)
    assert ends[-1] == 1.0
