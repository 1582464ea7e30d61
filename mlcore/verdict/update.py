"""The verdict anew after people checked rows, without a training: the small models stay, their weights are fitted again."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlcore.corpus import NoisyLabels
from mlcore.records import NO_LABEL, FloatArray
from mlcore.verdict.combine import Verdict, combine
from mlcore.verdict.contradictions import Contradictions


def update_verdict(
    views: FloatArray,
    noisy: NoisyLabels,
    evidence: Mapping[str, float],
    features: FloatArray | None = None,
) -> Verdict:
    """Decide anew with what people have answered since the training.

    Args:
        views: ``(N, V, K)``, the small models' opinions at the end of the training, see :class:`Verdict`.
        noisy: the LLM's labels and people's as they are now.
        evidence: of the verdict at the end of the training, see :meth:`Verdict.evidence`.
        features: ``(N, D)``, see :func:`mlcore.verdict.residual.main_directions`; None if they are not there any more.
    """
    encoder, other, *more = np.moveaxis(views.astype(np.float64), 1, 0)
    together = encoder.argmax(axis=1) == other.argmax(axis=1)
    contradicted = together & (noisy.given != NO_LABEL) & (encoder.argmax(axis=1) != noisy.given)
    wrong = evidence["teacher_wrong_when_contradicted"]
    contradictions = Contradictions(np.flatnonzero(contradicted), wrong, wrong, evidence["student_right"])
    return combine(encoder, other, noisy, contradictions=contradictions, more=more, features=features)
