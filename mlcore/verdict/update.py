"""The verdict anew after people checked rows, without a training: the small models stay, their weights are fitted again."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlcore.corpus import NoisyLabels
from mlcore.records import NO_LABEL, FloatArray
from mlcore.verdict.combine import Verdict, combine
from mlcore.verdict.contradictions import Contradictions


def update_verdict(slm_probs: FloatArray, noisy: NoisyLabels, evidence: Mapping[str, float]) -> Verdict:
    """Decide anew with what people have answered since the training.

    Args:
        slm_probs: ``(N, K)``, the small models' pooled opinion at the end of the training.
        noisy: the LLM's labels and people's as they are now.
        evidence: of the verdict at the end of the training, see :meth:`Verdict.evidence`.
    """
    contradicted = (noisy.given != NO_LABEL) & (slm_probs.argmax(axis=1) != noisy.given)
    wrong = evidence["teacher_wrong_when_contradicted"]
    contradictions = Contradictions(np.flatnonzero(contradicted), wrong, wrong, evidence["student_right"])
    return combine(slm_probs, slm_probs, noisy, contradictions=contradictions)
