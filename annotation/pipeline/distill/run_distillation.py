"""The SLM stage: train the small model on the round's noisy labels in a child process, and store its verdict on every row.

Training runs in a process of its own: a crash of the numerics takes down only itself, a cancel ends it at once,
and its memory is returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.utils import timezone

from annotation.jobs.details import TrainingDetail
from annotation.jobs.work import Job
from annotation.models import Iteration, Prediction, Sample, Source
from annotation.models.secret import readable
from annotation.pipeline.distill.store_predictions import run_summary, store_verdicts
from annotation.pipeline.distill.training_folder import keep_features, training_folder
from annotation.pipeline.distill.training_process import run_training
from annotation.pipeline.engine_rows import as_row, as_table, round_labels
from annotation.pipeline.measure import round_metrics
from annotation.pipeline.measure.compare_rounds import check_round
from mlcore.config import DistillConfig, LlmConfig
from mlcore.corpus import Corpus, NoisyLabels
from mlcore.distill.folder import read_label_arrays, read_result, write_inputs
from mlcore.label.second_question import AGREED
from mlcore.records import NO_LABEL


def run_distillation(job: Job[TrainingDetail]) -> None:
    """Train on all LLM labels and all corrections; write a prediction and a verdict for every row.

    A killed run resumes from its newest whole checkpoint. Corrections made meanwhile win: they are checked in the
    statement that writes.

    Raises:
        AnnotationError: the training process failed; the sentence says why.
        StoppedError: a person asked to pause or cancel.
    """
    iteration = Iteration.objects.select_related("project").get(stages=job.stage)
    read_at = timezone.now().isoformat()
    samples = list(iteration.project.samples.order_by("position"))
    folder = training_folder(job.stage)
    job.progress.report(phase="features", total=len(samples), done=0, force=True)
    if not (folder / "inputs.json").exists():
        job.progress.report(detail=replace(job.progress.detail, read_at=read_at), force=True)
        _prepare(folder, iteration, samples)
    run_training(job, folder, hub_token=hub_token_of(iteration))
    result = read_result(folder)
    given, verified = read_label_arrays(folder)
    summary = run_summary(result, given, verified, iteration)
    job.progress.report(phase="saving", detail=replace(job.progress.detail, **summary), force=True)
    store_verdicts(job, iteration, samples, result)
    keep_features(job.stage, samples, result.features)
    round_metrics.record_metrics(iteration)
    check_round(iteration)


def hub_token_of(iteration: Iteration) -> str:
    """The project's token, if it is one for the hub: that of another server must not be sent there.

    Raises:
        AnnotationError: it can't be decrypted.
    """
    kind = LlmConfig.from_dict(iteration.llm_settings).kind
    return "" if kind == "endpoint" else readable(iteration.project.llm_token)


def _prepare(folder: Path, iteration: Iteration, samples: Sequence[Sample]) -> None:
    labels, label_ids = round_labels(iteration)
    project = iteration.project
    place = {label_id: index for index, label_id in enumerate(label_ids)}
    corpus = Corpus(
        texts=[project.task.show(as_row(sample, project)) for sample in samples],
        table=as_table(samples, project) if project.task.student == "table" else None,
        column_kinds=project.column_kinds,
    )
    # What was decided in bulk trains like any other word of a person, with full weight: somebody chose that label for these
    # rows, against what the models had said or for it, and a lower weight would teach the models' own word anew. It
    # does not tell how often the models are right, though, since nobody need have looked at the rows.
    noisy = NoisyLabels(
        given=np.array([place.get(sample.llm_label_id or 0, NO_LABEL) for sample in samples]),
        probs=llm_probs(iteration, samples, label_ids),
        verified=np.array(
            [
                place.get(sample.label_id or 0, NO_LABEL) if sample.source == Source.PERSON else NO_LABEL
                for sample in samples
            ]
        ),
        count=len(labels),
        in_bulk=np.array([sample.batch_id is not None for sample in samples]),
    )
    write_inputs(
        folder,
        corpus,
        noisy,
        DistillConfig(**iteration.slm_settings),
        label_names=labels.names,
        cache_dir=settings.CACHE_DIR,
        weights_dir=settings.MODEL_DIR,
    )


def llm_probs(iteration: Iteration, samples: Sequence[Sample], label_ids: Sequence[int]) -> Any:
    """The LLM's newest calibrated distribution of every row (N, K), NaN where it gave none; None if it never gives any.

    Rounds whose labels were others are passed over; the labels' order may have changed since.
    """
    rows = {sample.pk: index for index, sample in enumerate(samples)}
    probs = np.full((len(samples), len(label_ids)), np.nan)
    rounds = iteration.project.iterations.standing().filter(number__lte=iteration.number).order_by("number")
    for earlier in rounds:
        then = [item["id"] for item in earlier.labels]
        if sorted(then) != sorted(label_ids):
            continue
        order = [then.index(label_id) for label_id in label_ids]
        once = _once_asked(earlier, len(label_ids))
        stored = earlier.predictions.filter(source=Prediction.ModelKind.LLM, label__in=label_ids).values_list(
            "sample_id", "label_id", "calibrated"
        )
        for sample_id, label_id, values in stored.iterator():
            values = values or once.get(label_id)
            if sample_id in rows:
                probs[rows[sample_id]] = [values[place] for place in order] if values else np.nan
    return None if np.isnan(probs).all() else probs


def _once_asked(iteration: Iteration, count: int) -> dict[int, list[float]]:
    """The distribution of each label where the LLM named it without one, in a round that asked the riskiest rows twice.

    Rows that were not among the riskiest are taken to be as sure as those on which both answers agreed: the mean over
    all that were asked twice would count them as riskier than they are. Empty if no row was asked twice.
    """
    told = iteration.predictions.filter(source=Prediction.ModelKind.LLM, second_raw__isnull=False)
    agreed = [
        max(calibrated)
        for probs, calibrated in told.values_list("probs", "calibrated").iterator()
        if probs and calibrated and max(probs) >= AGREED
    ]
    if not agreed:
        return {}
    sure = float(np.mean(agreed))
    rest = (1.0 - sure) / (count - 1)
    ids = [item["id"] for item in iteration.labels]
    return {label_id: [sure if each == label_id else rest for each in ids] for label_id in ids}
