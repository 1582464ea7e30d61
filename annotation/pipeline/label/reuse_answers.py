"""Later rounds ask the LLM again only where it pays: rows that are not at risk keep their earlier answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from django.db import transaction

from annotation.models import Iteration, Prediction, Sample
from annotation.models.sample import LlmLabel
from annotation.pipeline.label.unanswered import asks_all, unanswered_keys
from mlcore.errors import StoppedError
from mlcore.records import FloatArray

if TYPE_CHECKING:
    from annotation.pipeline.label.session import LabelingRun

SMALLEST_SHARE = 0.01


def earlier_round(iteration: Iteration) -> Iteration | None:
    """The round whose answers may be kept: the newest before it in which the LLM was asked, with the same labels."""
    if iteration.ask_all:
        return None
    before = (
        iteration.project.iterations.standing()
        .filter(number__lt=iteration.number, started_from=Iteration.Start.LLM, predictions__source="llm")
        .order_by("-number")
        .first()
    )
    same = before is not None and _label_ids(before) == _label_ids(iteration)
    return before if same else None


def keep_earlier_answers(run: LabelingRun) -> None:
    """Copy the answers of rows that are not asked about from the earlier round, so that this round has them too.

    Repeating it copies only what is missing, so a run that is killed here simply does it again.

    Raises:
        StoppedError: a person asked to pause or cancel.
    """
    earlier = earlier_round(run.iteration)
    if earlier is None or run.progress.detail.kept_from:
        return
    done, samples = 0, run.project.samples
    others = samples.exclude(llm_round=run.iteration.number)
    rows = samples.not_at_risk() if asks_all(run.iteration) else others
    run.begin_phase("keeping", steps=rows.count())
    for keys in unanswered_keys(run.iteration, rows=rows):
        if answers := list(earlier.predictions.answers_to(keys, source="llm")):
            _store_copies(run, answers)
        done += len(keys)
        run.report_steps(done)
        if run.lease.should_stop():
            raise StoppedError
    kept = run.iteration.predictions.filter(origin=Prediction.Origin.EARLIER).count()
    detail = replace(run.progress.detail, kept=kept, kept_from=earlier.number)
    run.progress.report(detail=detail, force=True)


def target_shares(iteration: Iteration) -> FloatArray | None:
    """The class shares ``(K,)`` that the rows asked again had in the earlier round; None if every row is asked.

    Rows at risk are no fair sample of the corpus: were their classes evened out like a whole corpus, those labels
    would be pushed where the rows are not. So the shares that the whole corpus' calibration gave them are kept.
    """
    earlier = earlier_round(iteration)
    kept = iteration.predictions.filter(origin=Prediction.Origin.EARLIER)
    if earlier is None or not kept.exists():
        return None
    mass = np.full(len(iteration.labels), SMALLEST_SHARE)
    if asks_all(iteration):
        unasked = set(kept.values_list("sample", flat=True).iterator())
        found = earlier.predictions.filter(source="llm", calibrated__isnull=False)
        for sample, probs in found.values_list("sample", "calibrated").iterator():
            if sample not in unasked:
                mass += probs
    else:  # the LLM was asked about few of them before, the small model about all
        judged = earlier.predictions.filter(source="slm", sample__llm_round=iteration.number)
        for probs in judged.values_list("probs", flat=True).iterator():
            mass += probs
    shares: FloatArray = np.maximum(mass / mass.sum(), SMALLEST_SHARE)
    evened: FloatArray = shares / shares.sum()
    return evened


def _label_ids(iteration: Iteration) -> list[int]:
    return [item["id"] for item in iteration.labels]


def _store_copies(run: LabelingRun, batch: list[Prediction]) -> None:
    copies = [
        Prediction(
            sample_id=answer.sample_id,
            iteration=run.iteration,
            source=Prediction.ModelKind.LLM,
            origin=Prediction.Origin.EARLIER,
            label_id=answer.label_id,
            probs=answer.probs,
            stated=answer.stated,
            calibrated=answer.calibrated,
            raw=answer.raw,
            second_raw=answer.second_raw,
        )
        for answer in batch
    ]
    written = [
        LlmLabel(answer.sample_id, answer.label_id, max(answer.calibrated) if answer.calibrated else None)
        for answer in batch
    ]
    with transaction.atomic():
        run.lease.fence()
        Prediction.objects.bulk_create(copies, ignore_conflicts=True)
        Sample.objects.write_llm_labels(written, round_number=run.iteration.number)
