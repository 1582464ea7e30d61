"""What a training leaves behind: a prediction and a verdict on every row, and what the page tells of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from django.db import transaction

from annotation.jobs.details import TrainingDetail
from annotation.jobs.work import Job
from annotation.models import EpochRows, Flag, Iteration, Prediction, Sample
from annotation.pipeline.distill.training_process import rows_of_share
from annotation.pipeline.engine_rows import round_labels
from mlcore.config import DistillConfig
from mlcore.corpus import Distilled
from mlcore.measure.metrics import confusion
from mlcore.records import NO_LABEL, IntArray
from mlcore.verdict.histogram import loss_histogram

WRITE_ROWS = 1_000
FIRST_ROWS = 50  # of the file: the first page of the table
FLAGS = (Flag.RIGHT, Flag.WRONG, Flag.INCONSISTENT)  # in the order of the engine's numbers


def run_summary(
    result: Distilled, given: IntArray, verified: IntArray, iteration: Iteration
) -> dict[str, Any]:
    """What the page tells of a finished training, beyond the rows themselves.

    Args:
        result: the verdicts of N rows.
        given: ``(N,)`` the LLM's labels as the training saw them, ``NO_LABEL`` where there was none.
        verified: ``(N,)`` people's labels then, ``NO_LABEL`` where nobody had looked.
        iteration: the round, whose label order all numbers follow.
    """
    label_ids = round_labels(iteration)[1]
    return {
        "history": [asdict(report) for report in result.history],
        "stopped": result.stopped and result.stopped.as_json(),
        "warnings": [warning.as_json() for warning in result.warnings],
        "evidence": result.evidence,
        "labels": label_ids,
        "loss_histogram": loss_histogram(
            result.losses,
            np.where(verified != NO_LABEL, verified, given),
            result.clean_prob,
            result.mixtures,
            threshold=DistillConfig(**iteration.slm_settings).clean_threshold,
        ),
        "confusion": confusion(result.prediction, given, len(label_ids)).tolist(),
        "unreadable_by_label": np.bincount(
            result.prediction[given == NO_LABEL], minlength=len(label_ids)
        ).tolist(),
    }


def store_epoch(
    job: Job[TrainingDetail],
    iteration: Iteration,
    samples: Sequence[Sample],
    given: IntArray,
    said: Mapping[str, Any],
) -> None:
    """Keep what the networks say after an epoch, for pages that follow the run.

    Args:
        given: ``(N,)`` the LLM's labels as the training saw them.
        said: the arrays of :class:`mlcore.distill.results.RowsNow`.
    """
    label_ids, threshold = round_labels(iteration)[1], DistillConfig(**iteration.slm_settings).clean_threshold
    differs = (given != NO_LABEL) & (given != said["prediction"])
    flags = np.where(differs, 2, np.where(said["clean_prob"] < threshold, 1, 0))
    rows = {
        samples[row].pk: [
            label_ids[int(said["prediction"][row])],
            round(float(said["confidence"][row]), 4),
            round(float(said["clean_prob"][row]), 4),
            int(said["rank"][row]),
            FLAGS[int(flags[row])],
            *(_rounded(value) for value in said["points"][row]),
            samples[row].number,
        ]
        for row in range(len(samples))
        if row < FIRST_ROWS or np.isfinite(said["points"][row, 0])
    }
    with transaction.atomic():
        job.lease.fence()
        EpochRows.objects.update_or_create(stage=job.stage, defaults={"epoch": job.stage.epoch, "rows": rows})
    job.progress.report(detail=replace(job.progress.detail, shown_epoch=job.stage.epoch), force=True)


def _rounded(value: Any) -> float | None:
    return round(float(value), 3) if np.isfinite(value) else None


def store_verdicts(
    job: Job[TrainingDetail], iteration: Iteration, samples: Sequence[Sample], result: Distilled
) -> None:
    """Write a prediction for every row, and its verdict unless a person has decided the row; part by part, each whole."""
    _labels, label_ids = round_labels(iteration)
    queue_rank = np.empty(len(samples), dtype=int)
    queue_rank[result.order] = np.arange(1, len(samples) + 1)
    for start in range(0, len(samples), WRITE_ROWS):
        part = range(start, min(start + WRITE_ROWS, len(samples)))
        predictions = [
            _prediction(iteration, samples[row], result, row, label_ids, int(queue_rank[row])) for row in part
        ]
        verdicts = [
            prediction.as_verdict(samples[row].llm_label_id)
            for row, prediction in zip(part, predictions, strict=True)
        ]
        with transaction.atomic():
            job.lease.fence()
            Prediction.objects.bulk_create(
                predictions,
                update_conflicts=True,
                unique_fields=["iteration", "source", "sample"],
                update_fields=[
                    "label",
                    "probs",
                    "loss",
                    "clean_prob",
                    "clean_rank",
                    "x",
                    "y",
                    "verdict",
                    "risk",
                    "flag",
                    "queue_rank",
                ],
                batch_size=500,
            )
            Sample.objects.write_verdicts(verdicts, round_number=iteration.number)
        job.progress.report(done=rows_of_share(job.stage.total, "saving", part.stop / len(samples)))
    EpochRows.objects.filter(stage=job.stage).delete()
    job.progress.report(done=len(samples), force=True)


def _prediction(
    iteration: Iteration,
    sample: Sample,
    result: Distilled,
    row: int,
    label_ids: Sequence[int],
    queue_rank: int,
) -> Prediction:
    return Prediction(
        sample=sample,
        iteration=iteration,
        source=Prediction.ModelKind.SLM,
        label_id=label_ids[int(result.prediction[row])],
        probs=[round(float(value), 6) for value in result.probs[row]],
        loss=_finite(result.losses[row]),
        clean_prob=_finite(result.clean_prob[row]),
        clean_rank=int(result.rank[row]),
        x=_finite(result.points[row, 0]),
        y=_finite(result.points[row, 1]),
        verdict_id=label_ids[int(result.machine_label[row])],
        risk=float(result.machine_risk[row]),
        flag=FLAGS[int(result.machine_flag[row])],
        queue_rank=queue_rank,
    )


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
