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
from scipy.special import softmax

from annotation.files import data_store
from annotation.jobs.details import TrainingDetail
from annotation.jobs.work import Job
from annotation.models import Iteration, Prediction, Project, Sample, Source
from annotation.pipeline.distill.feature_parts import encode_in_parts
from annotation.pipeline.distill.store_predictions import run_summary, store_epoch, store_verdicts
from annotation.pipeline.distill.training_folder import hub_token_of, keep_features, training_folder
from annotation.pipeline.distill.training_process import run_training
from annotation.pipeline.engine_rows import as_row, as_table, round_labels
from annotation.pipeline.measure import round_metrics
from annotation.pipeline.measure.checked_rows import CheckedRows
from annotation.pipeline.measure.compare_rounds import check_round
from annotation.pipeline.measure.llm_opinions import own_answers, rounds_by_model
from mlcore.config import DistillConfig
from mlcore.corpus import Corpus, NoisyLabels
from mlcore.distill.folder import read_epoch, read_label_arrays, read_result, write_inputs
from mlcore.label.second_question import AGREED
from mlcore.probabilities import log_probs
from mlcore.records import NO_LABEL, FloatArray


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
    if not data_store.bring_folder(folder, last="inputs.json"):
        job.progress.report(detail=replace(job.progress.detail, read_at=read_at), force=True)
        _prepare(folder, iteration, samples)
        data_store.send(folder)
    given, verified = read_label_arrays(folder)
    hub_token = hub_token_of(iteration)
    if iteration.project.task.student == "text":
        encode_in_parts(job, folder, hub_token=hub_token)
    run_training(
        job,
        folder,
        hub_token=hub_token,
        on_epoch=lambda: store_epoch(job, iteration, samples, given, read_epoch(folder)),
    )
    result = read_result(folder)
    summary = run_summary(result, given, verified, iteration)
    job.progress.report(phase="saving", detail=replace(job.progress.detail, **summary), force=True)
    store_verdicts(job, iteration, samples, result)
    keep_features(job.stage, samples, result.features)
    round_metrics.record_metrics(iteration)
    check_round(iteration)


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
        stands_for=rows_stood_for(project, [sample.pk for sample in samples]),
    )
    write_inputs(
        folder,
        corpus,
        noisy,
        DistillConfig(**iteration.slm_settings),
        label_names=labels.names,
        cache_dir=settings.CACHE_DIR,
        weights_dir=settings.MODEL_DIR,
        task=project.task.name,
        columns=project.content_columns,
    )


def rows_stood_for(project: Project, keys: Sequence[int]) -> FloatArray:
    """How many rows each one stands for (N,) that was drawn at random and answered blind; 0 for all others."""
    checked = CheckedRows.read(project)
    answered = {row.sample_id for row in checked.checked if row.draw_number}
    stands_for = {draw.sample_id: draw.weight for draw in checked.draws if draw.sample_id in answered}
    return np.array([stands_for.get(key, 0.0) for key in keys])


def llm_probs(iteration: Iteration, samples: Sequence[Sample], label_ids: Sequence[int]) -> Any:
    """The LLM's newest calibrated distribution of every row (N, K), NaN where it gave none; None if it never gives any.

    Where several models were asked about a row, it is the normalised geometric mean of theirs: models that agree are as sure
    as one of them, and a contradiction leaves little. Rounds whose labels were others are passed over; the labels' order may
    have changed since.
    """
    rows = {sample.pk: index for index, sample in enumerate(samples)}
    models = rounds_by_model(iteration.project, up_to=iteration.number, label_ids=label_ids)
    views = np.full((len(models), len(samples), len(label_ids)), np.nan)
    for view, model in zip(views, models, strict=True):
        for earlier in model.rounds:
            then = [item["id"] for item in earlier.labels]
            order = [then.index(label_id) for label_id in label_ids]
            once = _once_asked(earlier, len(label_ids))
            for answer in own_answers(earlier):
                values = answer.calibrated or once.get(answer.label_id or 0)
                if answer.label_id and answer.sample_id in rows:
                    view[rows[answer.sample_id]] = [values[place] for place in order] if values else np.nan
    stated = np.isfinite(views).all(axis=2)
    if not stated.any():
        return None
    logs = np.where(stated[:, :, None], log_probs(views), 0.0).sum(axis=0)
    count = stated.sum(axis=0)[:, None]
    return np.where(count > 0, softmax(logs / np.maximum(count, 1), axis=1), np.nan)


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
