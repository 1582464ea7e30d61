"""The order of the open rows learns while people answer: the verdict is fitted again to their answers, without a training.

The labels learn too, as long as no row was drawn to certify them as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from django.conf import settings
from django.utils import timezone

from annotation.files import data_store
from annotation.jobs import kinds
from annotation.jobs.details import TrainingDetail, UpdateDetail
from annotation.jobs.work import Job
from annotation.models import Iteration, Prediction, Sample, Source, Stage
from annotation.models.sql import update_rows
from annotation.pipeline.distill.run_distillation import rows_stood_for
from annotation.pipeline.distill.start_update import is_at_work
from annotation.pipeline.distill.store_predictions import FLAGS, WRITE_ROWS
from annotation.pipeline.engine_rows import round_labels
from annotation.pipeline.measure import round_metrics
from annotation.pipeline.measure.draw_for_certificate import drawn_rows
from mlcore.config import DistillConfig
from mlcore.corpus import NoisyLabels
from mlcore.distill.folder import read_views
from mlcore.errors import StoppedError
from mlcore.records import NO_LABEL, FloatArray, IntArray
from mlcore.verdict.residual import main_directions
from mlcore.verdict.review_order import flag_rows, review_order
from mlcore.verdict.update import update_verdict


def run_update(job: Job[UpdateDetail]) -> None:
    """Fit the weights of the newest verdict to what people answered, and write risks and queue anew, and, where no row was drawn
    for the labels as they are or somebody asked for it, labels and flags.

    Does nothing where a training's files are lost, for the paper's method, which has no weights, and while a
    step of the loop is at work, which decides the rows itself.
    """
    project = job.stage.project
    iteration = project.iterations.in_force()
    training = iteration.stage(kinds.SLM.key) if iteration else None
    if iteration is None or training is None or is_at_work(project):
        return
    folder = settings.RUN_DIR / str(training.run_id)
    evidence = TrainingDetail.of(training).evidence
    by_weights = DistillConfig(**iteration.slm_settings).method != "paper" and "student_right" in evidence
    views = read_views(folder) if by_weights and data_store.bring_folder(folder, last="keys.npy") else None
    if views is None:
        return
    read_at = timezone.now().isoformat()
    keys = np.load(folder / "keys.npy")
    noisy = _labels_now(iteration, folder, keys)
    verdict = update_verdict(views, noisy, evidence, _features(folder))
    label_ids = round_labels(iteration)[1]
    kept = _labels_of_round(iteration, keys, {pk: number for number, pk in enumerate(label_ids)})
    kept_risk = verdict.risk_of(kept)
    drawn = np.isin(keys, list(drawn_rows(project).values_list("sample", flat=True)))
    opened = noisy.verified == NO_LABEL
    writes_labels = job.progress.detail.renew or not drawn.any()
    detail = UpdateDetail(
        renew=job.progress.detail.renew,
        writes_labels=writes_labels,
        renewal=0.0 if writes_labels else float((kept_risk - verdict.machine_risk)[opened].sum()),
        drawn_risk=0.0 if writes_labels else float(kept_risk[drawn & ~opened].sum()),
    )
    job.progress.report(detail=detail, force=True)
    label = verdict.machine_label if writes_labels else kept
    risk = verdict.machine_risk if writes_labels else kept_risk
    queue_rank = np.empty(len(keys), dtype=np.int64)
    doubt = verdict.doubt if writes_labels else risk
    queue_rank[review_order(risk, doubt, ~opened)] = np.arange(1, len(keys) + 1)
    flag = flag_rows(risk, noisy.given, verdict.slm_probs.argmax(axis=1))
    found = {
        key: (label_ids[label], float(risk), FLAGS[code].value, int(rank))
        for key, label, risk, code, rank in zip(keys.tolist(), label, risk, flag, queue_rank, strict=True)
    }
    if _store(job, iteration, found, writes_labels=writes_labels):
        _tell(training, read_at, verdict.evidence(noisy))
        if writes_labels:
            round_metrics.record_metrics(iteration)


def _labels_of_round(iteration: Iteration, keys: IntArray, index: dict[int, int]) -> IntArray:
    """The labels ``(N,)`` that the models gave the rows when their labels were last written."""
    said = iteration.predictions.filter(source=Prediction.ModelKind.SLM)
    labels = dict(said.values_list("sample", "verdict").iterator(chunk_size=WRITE_ROWS))
    return np.array([index.get(labels.get(key) or 0, NO_LABEL) for key in keys.tolist()])


def _features(folder: Path) -> FloatArray | None:
    stored = folder / "features.npy"
    return main_directions(np.load(stored)) if stored.exists() else None


def _labels_now(iteration: Iteration, folder: Path, keys: IntArray) -> NoisyLabels:
    """The LLM's labels as the training had them, and people's as they are now."""
    label_ids = round_labels(iteration)[1]
    index = {label_id: number for number, label_id in enumerate(label_ids)}
    row_of = {key: row for row, key in enumerate(keys.tolist())}
    verified, in_bulk = np.full(len(keys), NO_LABEL), np.zeros(len(keys), dtype=bool)
    decided = iteration.project.samples.filter(source=Source.PERSON).order_by()
    for pk, label_id, batch_id in decided.values_list("pk", "label_id", "batch_id").iterator():
        if pk in row_of:
            verified[row_of[pk]] = index.get(label_id, NO_LABEL)
            in_bulk[row_of[pk]] = batch_id is not None
    stands_for = rows_stood_for(iteration.project, keys.tolist())
    with np.load(folder / "inputs.npz", allow_pickle=False) as arrays:
        return NoisyLabels(
            arrays["given"], arrays.get("probs"), verified, len(label_ids), in_bulk, stands_for
        )


def _store(
    job: Job[UpdateDetail],
    iteration: Iteration,
    found: dict[int, tuple[int, float, str, int]],
    *,
    writes_labels: bool,
) -> bool:
    """Write verdict, risk, flag and place in the queue by row; False if a step of the loop began meanwhile."""
    keys = list(found)
    for start in range(0, len(keys), WRITE_ROWS):
        if job.lease.should_stop():
            raise StoppedError
        part = keys[start : start + WRITE_ROWS]
        with job.lease.piece():
            if is_at_work(iteration.project):
                return False
            if writes_labels:
                _write_labels(iteration, part, found)
            else:
                opened = set(
                    iteration.project.samples.unchecked().filter(pk__in=part).values_list("pk", flat=True)
                )
                update_rows(
                    Sample,
                    ("risk", "flag", "queue_rank"),
                    [(*found[key][1:], key) for key in part if key in opened],
                )
        job.progress.report(done=min(start + WRITE_ROWS, len(keys)), total=len(keys))
    return True


def _write_labels(
    iteration: Iteration, part: Sequence[int], found: dict[int, tuple[int, float, str, int]]
) -> None:
    said = iteration.predictions.filter(source=Prediction.ModelKind.SLM, sample__in=part)
    predictions = list(said.select_related("sample").defer("raw", "calibrated", "sample__text"))
    for row in predictions:
        row.verdict_id, row.risk, row.flag, row.queue_rank = found[row.sample_id]
    update_rows(
        Prediction,
        ("verdict_id", "risk", "flag", "queue_rank"),
        [(*found[row.sample_id], row.pk) for row in predictions],
    )
    Sample.objects.write_verdicts(
        [row.as_verdict(row.sample.llm_label_id) for row in predictions], round_number=iteration.number
    )


def _tell(training: Stage, read_at: str, evidence: dict[str, float]) -> None:
    """Keep what the risk rests on now, where the training told it before."""
    detail = replace(TrainingDetail.of(training), read_at=read_at, evidence=evidence)
    Stage.objects.filter(pk=training.pk).update(detail=detail.to_json())
