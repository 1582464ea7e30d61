"""The features of a large corpus in parts, see :mod:`annotation.jobs.parts`, before its training reads them from the cache."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.db.models.functions import Now

from annotation.errors import AnnotationError, PausedError
from annotation.files import data_store
from annotation.jobs import kinds, state
from annotation.jobs.details import FeaturesPartDetail, TrainingDetail
from annotation.jobs.notify import notify_pages
from annotation.jobs.parts import do_parts, drop_parts, wake_another
from annotation.jobs.work import Job
from annotation.models import Iteration, Stage
from annotation.pipeline.distill.training_folder import hub_token_of, training_folder
from annotation.pipeline.distill.training_process import crash_message, rows_of_share, run_child
from mlcore.distill.folder import EXIT_ERROR
from mlcore.messages import Message

PART_TEXTS = 5_000  # about a minute on two cores, of which loading the encoder is a twentieth
LEAST_ROWS = 2 * PART_TEXTS  # below, one process is as fast
TELL_SECONDS = 1.0


def encode_in_parts(job: Job[TrainingDetail], folder: Path, *, hub_token: str) -> None:
    """Have the texts of the training in the folder encoded by this worker and whoever else is free.

    Raises:
        AnnotationError, PausedError: what a part ended with.
        StoppedError: a person asked to pause or cancel.
    """
    stage = job.stage
    if job.progress.detail.encoded or stage.total < LEAST_ROWS:
        return
    if not stage.parts.exists():
        ranges = _run_encoder(job, folder, PART_TEXTS, hub_token=hub_token)["ranges"]
        parts = [(end - start, FeaturesPartDetail(start=start, end=end)) for start, end in ranges]
        with transaction.atomic():
            job.lease.fence()
            state.create_parts(stage, kinds.FEATURES_PART, parts)
    do_parts(job.lease, _end)
    for part in stage.parts.all():
        for name in FeaturesPartDetail.of(part).files:
            data_store.bring(settings.DATA_DIR / name)
    with transaction.atomic():
        drop_parts(job.lease)
        job.progress.report(detail=replace(job.progress.detail, encoded=True), force=True)


def run_part(job: Job[FeaturesPartDetail]) -> None:
    """Encode the texts of a part.

    Raises:
        AnnotationError: the process failed; the sentence says why.
        StoppedError: a person asked to pause or cancel.
    """
    whole = job.stage.parent
    assert whole
    detail = job.progress.detail
    iteration = Iteration.objects.get(stages=whole)
    folder = training_folder(whole)
    data_store.bring_folder(folder, last="inputs.json")
    _run_encoder(job, folder, detail.start, detail.end, hub_token=hub_token_of(iteration))
    files = data_store.send_new(settings.CACHE_DIR / "features")
    job.progress.report(done=job.stage.total, detail=replace(detail, files=files), force=True)
    _tell_whole(whole.pk)


def _run_encoder(job: Job[Any], folder: Path, *numbers: int, hub_token: str) -> dict[str, Any]:
    """What the process printed last; meanwhile it is passed on how far it is."""
    said: dict[str, Any] = {}
    next_tell = 0.0

    def on_event(event: dict[str, Any]) -> None:
        nonlocal said, next_tell
        said = event
        if "batches" not in event or time.monotonic() < next_tell:
            return
        next_tell = time.monotonic() + TELL_SECONDS
        job.progress.report(done=job.stage.total * event["batch"] // event["batches"], force=True)
        _tell_whole(job.stage.parent_id or 0)
        wake_another(job.stage)

    arguments = map(str, numbers)
    code = run_child(job, folder, "mlcore.distill.encode", *arguments, hub_token=hub_token, on_event=on_event)
    if code != 0:
        raise AnnotationError(
            Message.of(said["error"]) if code == EXIT_ERROR else crash_message(code, folder)
        )
    return said


def _tell_whole(stage_id: int) -> None:
    """Write how far all parts are to the whole's row."""
    stage = Stage.objects.filter(pk=stage_id, status=Stage.Status.RUNNING).first()
    if stage is None:
        return
    figures = stage.parts.aggregate(done=Sum("done"), total=Sum("total"))
    done = rows_of_share(stage.total, "features", figures["done"] / max(1, figures["total"]))
    Stage.objects.filter(pk=stage.pk, status=Stage.Status.RUNNING).update(done=done, updated_at=Now())
    notify_pages(stage)


def _end(part: Stage) -> None:
    """End the whole as a part of it ended."""
    if part.status == Stage.Status.FAILED:
        raise AnnotationError(Message.of(part.error))
    raise PausedError(Message.of(part.error))
