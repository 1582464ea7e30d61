"""Rows that came after the last round get label and risk by the kept model, without a language model, and join the queue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from django.conf import settings
from django.db import transaction

from annotation.jobs.details import Detail
from annotation.jobs.work import Job
from annotation.models import Prediction, Project, Sample
from annotation.pipeline.distill.kept_model import KeptModel, needed_model
from annotation.pipeline.distill.start_new_rows import new_rows
from annotation.pipeline.distill.store_predictions import FLAGS
from annotation.pipeline.distill.training_folder import hub_token_of
from annotation.pipeline.engine_rows import as_row, as_table
from annotation.pipeline.measure import round_metrics
from mlcore.errors import StoppedError
from mlcore.records import NO_LABEL, FloatArray, IntArray
from mlcore.verdict.review_order import flag_rows

ROWS_AT_ONCE = 1_000


def run_new_rows(job: Job[Detail]) -> None:
    """Write a prediction, a label and a risk for every new row; what a killed run wrote stays, and the rest follows.

    Raises:
        NotReadyError: the model is gone, or the labels are others by now.
        StoppedError: a person asked to pause or cancel.
    """
    from mlcore.classifier.classifier import Classifier  # torch is loaded here, in the worker only

    project = job.stage.project
    kept = needed_model(project)
    label_ids = kept.label_ids()
    classifier = Classifier.load(
        kept.model_folder,
        cache_dir=settings.CACHE_DIR,
        weights_dir=settings.MODEL_DIR,
        hub_token=hub_token_of(kept.iteration),
        keep_features=True,
    )
    queue = _Queue(project)
    keys = list(new_rows(project).order_by("position").values_list("pk", flat=True))
    already = max(job.stage.total - len(keys), 0)
    job.progress.report(phase="predicting", done=already, total=already + len(keys), force=True)
    for start in range(0, len(keys), ROWS_AT_ONCE):
        if job.lease.should_stop():
            raise StoppedError
        part = keys[start : start + ROWS_AT_ONCE]
        samples = list(project.samples.filter(pk__in=part).order_by("position"))
        if project.task.student == "table":
            predicted = classifier.predict(as_table(samples, project))
        else:
            predicted = classifier.predict([project.task.show(as_row(sample, project)) for sample in samples])
        predictions = _predictions(kept, samples, predicted.label, predicted.probs, predicted.risk, label_ids)
        for prediction in predictions:
            prediction.queue_rank = queue.rank(prediction.risk or 0.0)
        with transaction.atomic():
            job.lease.fence()
            Prediction.objects.bulk_create(predictions, ignore_conflicts=True, batch_size=500)
            verdicts = [
                prediction.as_verdict(sample.llm_label_id)
                for sample, prediction in zip(samples, predictions, strict=True)
            ]
            Sample.objects.write_verdicts(verdicts, round_number=kept.iteration.number)
        job.progress.report(done=already + start + len(part))
    round_metrics.record_metrics(kept.iteration)


def _predictions(
    kept: KeptModel,
    samples: Sequence[Sample],
    label: IntArray,
    probs: FloatArray,
    risk: FloatArray,
    label_ids: Sequence[int],
) -> list[Prediction]:
    place = {label_id: number for number, label_id in enumerate(label_ids)}
    given = np.array([place.get(sample.llm_label_id or 0, NO_LABEL) for sample in samples])
    flag = flag_rows(risk, given, label)
    return [
        Prediction(
            sample=sample,
            iteration=kept.iteration,
            source=Prediction.ModelKind.SLM,
            label_id=label_ids[label[row]],
            probs=[round(float(value), 6) for value in probs[row]],
            verdict_id=label_ids[label[row]],
            risk=float(risk[row]),
            flag=FLAGS[int(flag[row])],
        )
        for row, sample in enumerate(samples)
    ]


class _Queue:
    """Where rows of a risk belong among those that have a place in the review queue."""

    def __init__(self, project: Project) -> None:
        placed = project.samples.filter(
            queue_rank__isnull=False, corrected_at__isnull=True, risk__isnull=False
        )
        pairs = [
            (-(risk or 0.0), rank or 0) for risk, rank in placed.order_by().values_list("risk", "queue_rank")
        ]
        self.falling = np.array([risk for risk, _rank in sorted(pairs)])
        self.ranks = [rank for _risk, rank in sorted(pairs)]

    def rank(self, risk: float) -> int:
        """The place of the first row that is no riskier; behind all others where there is none."""
        place = int(np.searchsorted(self.falling, -risk))
        return self.ranks[place] if place < len(self.ranks) else max(self.ranks, default=0) + 1
