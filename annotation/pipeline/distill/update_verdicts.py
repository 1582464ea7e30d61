"""The order of the open rows learns while people answer: the verdict is fitted again to their answers, without a training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from django.conf import settings
from django.utils import timezone

from annotation.jobs import kinds
from annotation.jobs.details import Detail, TrainingDetail
from annotation.jobs.work import Job
from annotation.models import Iteration, Prediction, Sample, Source, Stage
from annotation.models.sql import update_rows
from annotation.pipeline.distill.run_distillation import rows_stood_for
from annotation.pipeline.distill.start_update import is_at_work
from annotation.pipeline.distill.store_predictions import FLAGS, WRITE_ROWS
from annotation.pipeline.engine_rows import round_labels
from annotation.pipeline.measure import round_metrics
from mlcore.config import DistillConfig
from mlcore.corpus import NoisyLabels
from mlcore.distill.folder import read_views
from mlcore.errors import StoppedError
from mlcore.records import NO_LABEL, IntArray
from mlcore.verdict.review_order import flag_rows, review_order
from mlcore.verdict.update import update_verdict


def run_update(job: Job[Detail]) -> None:
    """Fit the weights of the newest verdict to what people answered, and write labels, risks, flags and queue anew.

    Does nothing without a training's files on this machine, for the paper's method, which has no weights, and while a
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
    views = read_views(folder) if by_weights else None
    if views is not None:
        read_at = timezone.now().isoformat()
        keys = np.load(folder / "keys.npy")
        noisy = _labels_now(iteration, folder, keys)
        verdict = update_verdict(views, noisy, evidence)
        checked = noisy.verified != NO_LABEL
        queue_rank = np.empty(len(keys), dtype=np.int64)
        queue_rank[review_order(verdict.machine_risk, verdict.doubt, checked)] = np.arange(1, len(keys) + 1)
        flag = flag_rows(verdict.machine_risk, noisy.given, verdict.slm_probs.argmax(axis=1))
        label_ids = round_labels(iteration)[1]
        found = [
            (label_ids[label], float(risk), FLAGS[code].value, int(rank))
            for label, risk, code, rank in zip(
                verdict.machine_label, verdict.machine_risk, flag, queue_rank, strict=True
            )
        ]
        if _store(job, iteration, dict(zip(keys.tolist(), found, strict=True))):
            _tell(training, read_at, verdict.evidence(noisy))
            round_metrics.record_metrics(iteration)


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


def _store(job: Job[Detail], iteration: Iteration, found: dict[int, tuple[int, float, str, int]]) -> bool:
    """Write verdict, risk, flag and place in the queue by row; False if a step of the loop began meanwhile."""
    keys = list(found)
    for start in range(0, len(keys), WRITE_ROWS):
        if job.lease.should_stop():
            raise StoppedError
        part = iteration.predictions.filter(
            source=Prediction.ModelKind.SLM, sample__in=keys[start : start + WRITE_ROWS]
        )
        with job.lease.piece():
            if is_at_work(iteration.project):
                return False
            predictions = list(part.select_related("sample").defer("raw", "calibrated", "sample__text"))
            for row in predictions:
                row.verdict_id, row.risk, row.flag, row.queue_rank = found[row.sample_id]
            update_rows(
                Prediction,
                ("verdict_id", "risk", "flag", "queue_rank"),
                [(*found[row.sample_id], row.pk) for row in predictions],
            )
            Sample.objects.write_verdicts(
                [row.as_verdict(row.sample.llm_label_id) for row in predictions],
                round_number=iteration.number,
            )
        job.progress.report(done=min(start + WRITE_ROWS, len(keys)), total=len(keys))
    return True


def _tell(training: Stage, read_at: str, evidence: dict[str, float]) -> None:
    """Keep what the risk rests on now, where the training told it before."""
    detail = replace(TrainingDetail.of(training), read_at=read_at, evidence=evidence)
    Stage.objects.filter(pk=training.pk).update(detail=detail.to_json())
