"""The training as a process of its own: started, listened to, and ended when the stage is to stop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

from annotation.errors import AnnotationError
from annotation.jobs.details import TrainingDetail
from annotation.jobs.work import Job
from annotation.messages import message
from mlcore.distill.folder import (
    CACHE_VARIABLE,
    EXIT_ERROR,
    TOKEN_VARIABLE,
    WEIGHTS_VARIABLE,
    read_error,
)
from mlcore.errors import StoppedError
from mlcore.messages import Message

WATCH_SECONDS = 0.5
TERMINATE_SECONDS = 15
TRAINING_PHASES = ("warm-up", "robust")
#: Where each phase begins and ends on the bar: their shares of a first run's time on 2,000 news texts, about.
PHASE_SPANS = {
    "features": (0.0, 0.4),
    "warm-up": (0.4, 0.85),
    "robust": (0.4, 0.85),
    "verdict": (0.85, 0.92),
    "model": (0.92, 0.95),
    "saving": (0.95, 1.0),
}
EPOCH_FIGURES = ("epoch", "phase", "loss", "loss_unlabelled", "clean_share")


def run_training(
    job: Job[TrainingDetail], folder: Path, *, hub_token: str, on_epoch: Callable[[], None]
) -> None:
    """Run the training process, pass on what it reports, and end it when the stage is to stop.

    ``hub_token`` fetches an encoder that is not public; empty for none. ``on_epoch`` is called when the rows after an epoch
    lie in the folder.
    """
    history: dict[int, dict[str, Any]] = {}

    def on_event(event: dict[str, Any]) -> None:
        if "rows" in event:
            on_epoch()
        else:
            _report(job, event, history)

    code = run_child(job, folder, "mlcore.distill.folder", hub_token=hub_token, on_event=on_event)
    if code != 0:
        raise AnnotationError(read_error(folder) if code == EXIT_ERROR else crash_message(code, folder))


def run_child(
    job: Job[Any],
    folder: Path,
    module: str,
    *arguments: str,
    hub_token: str,
    on_event: Callable[[dict[str, Any]], None],
) -> int:
    """Run one of the engine's modules on a folder as a process of its own, and return its exit code.

    Raises:
        StoppedError: the stage is to stop; the process was ended.
    """
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(settings.THREADS or os.cpu_count() or 1),
        "TOKENIZERS_PARALLELISM": "false",
        TOKEN_VARIABLE: hub_token,
        CACHE_VARIABLE: str(settings.CACHE_DIR),
        WEIGHTS_VARIABLE: str(settings.MODEL_DIR),
    }
    log = (folder / "log.txt").open("a")
    with (
        log,
        subprocess.Popen(
            [sys.executable, "-m", module, str(folder), *arguments],
            cwd=settings.BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        ) as child,
    ):
        stopper = threading.Thread(target=_terminate_on_stop, args=(job, child), daemon=True)
        stopper.start()
        for event in child_events(child):
            on_event(event)
        code = child.wait()
        stopper.join()
    if job.lease.should_stop():
        raise StoppedError
    return code


def _terminate_on_stop(job: Job[Any], child: subprocess.Popen[str]) -> None:
    try:
        while child.poll() is None:
            if job.lease.should_stop():
                _terminate(child)
                return
            time.sleep(WATCH_SECONDS)
    finally:
        connection.close()  # this thread's own


def _terminate(child: subprocess.Popen[str]) -> None:
    child.terminate()
    try:
        child.wait(timeout=TERMINATE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


def child_events(child: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("{"):
            yield json.loads(line)


def _report(job: Job[TrainingDetail], event: dict[str, Any], history: dict[int, dict[str, Any]]) -> None:
    """Pass one progress event on."""
    training, detail = event["phase"] in TRAINING_PHASES, job.progress.detail
    epoch_share = event["batch"] / event["batches"] if event["batches"] else 0.0
    share = (event["epoch"] - 1 + epoch_share) / event["epochs"] if training else epoch_share
    if training and epoch_share >= 1.0:
        history[event["epoch"]] = {name: event[name] for name in EPOCH_FIGURES}
    job.progress.report(
        phase=event["phase"],
        epoch=event["epoch"],
        epochs=event["epochs"],
        done=rows_of_share(job.stage.total, event["phase"], share),
        detail=replace(
            detail,
            seconds_left=event["seconds_left"],
            batch=event["batch"],
            batches=event["batches"],
            clean_share=event["clean_share"] if training else detail.clean_share,
            history=[history[epoch] for epoch in sorted(history)],
        ),
    )


def rows_of_share(total: int, phase: str, share: float) -> int:
    """How many of all rows count as done: the phases share the bar, so that one bar tells all and only grows."""
    start, end = PHASE_SPANS[phase]
    return int((start + share * (end - start)) * total)


def crash_message(code: int, folder: Path) -> Message:
    log = str(folder / "log.txt")
    if code < 0:
        return message(
            "The training process was killed (signal %(signal)s), often because the machine ran out of memory. Its log is in %(log)s.",
            signal=-code,
            log=log,
        )
    return message(
        "The training process ended with an unexpected error (exit code %(code)s). Its log is in %(log)s.",
        code=code,
        log=log,
    )
