"""Remove the LLM's bias towards some labels: roughly while answers come, and over the whole corpus at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from django.db import transaction

from annotation.models import Prediction, Sample
from annotation.models.bulk import update_rows
from annotation.models.sample import LlmLabel
from annotation.pipeline.answers import probs_text
from annotation.pipeline.carry import target_shares
from annotation.pipeline.rows import round_labels
from mlcore.calibrate import calibrate_batch
from mlcore.records import NO_LABEL, Answer, FloatArray

if TYPE_CHECKING:
    from annotation.pipeline.run import LabelingRun

WRITE_ROWS = 2_000


class RunningCalibration:
    """Calibrates by the class shares of the answers so far, until the corpus is whole.

    Args:
        classes: number of labels.
        strength: 1 removes the whole bias, 0 none of it.
        target: the class shares ``(K,)`` that these rows ought to have; None for even ones.
    """

    def __init__(self, classes: int, *, strength: float, target: FloatArray | None = None) -> None:
        self._mass = np.zeros(classes)
        self._strength = strength
        self._target = np.full(classes, 1 / classes) if target is None else target

    def add(self, batch: list[Answer]) -> None:
        for answer in batch:
            if answer.probs is not None:
                self._mass += answer.probs

    def calibrate(self, probs: Any) -> Any:
        """The distribution ``(K,)`` without the bias that shows so far; None for None."""
        if probs is None:
            return None
        excess = self._mass / self._mass.sum() / self._target
        weighted = probs / np.maximum(excess, 1e-9) ** self._strength
        return weighted / weighted.sum()


def label_id_of(answer: Answer, calibrated: Any, label_ids: list[int]) -> int | None:
    """The label that an answer gives its row, or None (failed, unreadable)."""
    if answer.error:
        return None
    if calibrated is not None:
        return label_ids[int(calibrated.argmax())]
    return None if answer.label == NO_LABEL else label_ids[answer.label]


def calibrate_corpus(run: LabelingRun) -> None:
    """Remove the class bias over all answers at once, and set the rows' LLM labels from the result.

    Answers that were kept from an earlier round were calibrated there, over the whole corpus, and stay as they are.
    Repeating it gives the same labels, so a run that is killed here simply does it again.
    """
    claim, iteration = run.claim, run.iteration
    _labels, label_ids = round_labels(iteration)
    answers = Prediction.objects.filter(
        iteration=iteration, source=Prediction.ModelKind.LLM, probs__isnull=False
    ).exclude(origin=Prediction.Origin.EARLIER)
    stored = list(answers.order_by("pk").values_list("pk", "sample_id", "probs"))
    if not stored:
        return
    claim.report(phase="calibration", force=True)
    calibrated = calibrate_batch(
        np.array([probs for _pk, _sample, probs in stored]),
        strength=run.config.calibration_strength,
        target=target_shares(iteration, len(label_ids)),
    )
    for start in range(0, len(stored), WRITE_ROWS):
        part = slice(start, start + WRITE_ROWS)
        predictions, written = [], []
        for (pk, sample_id, _probs), row in zip(stored[part], calibrated[part], strict=True):
            label_id = label_ids[int(row.argmax())]
            predictions.append((label_id, probs_text(row), pk))
            written.append(LlmLabel(sample_id, label_id, float(row.max())))
        with transaction.atomic():
            claim.fence()
            update_rows(Prediction, ("label_id", "calibrated"), predictions)
            Sample.objects.write_llm_labels(written, round_number=iteration.number)
