"""What the commands share: do a stage's work here (or wait for the worker that took it), with a progress bar."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.files.base import File
from django.core.management.base import CommandError
from django.db import connection
from tqdm import tqdm

from annotation.jobs.kinds import kind_name
from annotation.jobs.round_metrics import RoundMetrics
from annotation.jobs.work import run_stage
from annotation.messages import message_text
from annotation.models import Iteration, Project, Stage, Upload
from annotation.pipeline.ingest.upload import store_upload

POLL_SECONDS = 0.3
#: What a shell expects of a command that Ctrl-C ended.
INTERRUPTED = 130


def console_user() -> User:
    """The account that commands act for: the first superuser, made without a password if there is none."""
    user = User.objects.filter(is_superuser=True).order_by("pk").first()
    return user or User.objects.create_superuser("admin")


def store_file(project: Project, path: Path, user: User | None, **reading: Any) -> Upload:
    """Store a file of this machine as an upload; ``reading`` as :func:`store_upload` takes it.

    Raises:
        CommandError: the file can't be opened.
    """
    try:
        with path.open("rb") as file:
            return store_upload(project, File(file, name=path.name), user, **reading)
    except OSError as error:
        raise CommandError(f"{path} can't be opened: {error.strerror}.") from error


@contextmanager
def errors_only() -> Iterator[None]:
    """Log errors only: the bar tells how far the work is, and no broker is needed where a command does the work itself."""
    logger = logging.getLogger("annotation")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def complete(stage: Stage, *, here: bool = True) -> Stage:
    """See a stage through to its end.

    Args:
        here: do the work in this process unless a worker has taken it already; otherwise leave it to the workers.

    Raises:
        CommandError: it failed, was cancelled or paused.
    """
    stop = threading.Event()
    bar = threading.Thread(target=_show_bar, args=(stage.pk, stop), daemon=True)
    bar.start()
    try:
        if here:
            run_stage(stage.pk)
            stage.refresh_from_db()
        while stage.status in (Stage.Status.QUEUED, Stage.Status.RUNNING):
            time.sleep(POLL_SECONDS)
            stage.refresh_from_db()
    except KeyboardInterrupt:
        raise CommandError(
            f"{kind_name(stage)} stopped here. It goes on where it was as soon as a worker runs (coral up); to "
            "end it, cancel it on the project's page.",
            returncode=INTERRUPTED,
        ) from None
    finally:
        stop.set()
        bar.join()
    if stage.status != Stage.Status.DONE:
        raise CommandError(
            f"{kind_name(stage)} {stage.get_status_display()}: {message_text(stage.error) or 'somebody stopped it'}"
        )
    return stage


def _show_bar(stage_id: int, stop: threading.Event) -> None:
    try:
        stage = Stage.objects.get(pk=stage_id)
        title = f"round {stage.iteration.number} {stage.kind}" if stage.iteration else stage.kind
        # disable=None: no bar where the output is no terminal, so that a log stays readable.
        with tqdm(total=stage.total or None, desc=title, unit=" rows", mininterval=0.5, disable=None) as bar:
            while not stop.wait(POLL_SECONDS):
                _update(bar, stage)
            _update(bar, stage)
            if bar.disable:
                done = f"{stage.get_status_display()}, {stage.done} rows in {stage.seconds:.0f} s"
                print(f"{title}: {done}", flush=True)
    finally:
        connection.close()  # this thread's own


def _update(bar: tqdm[None], stage: Stage) -> None:
    stage.refresh_from_db()
    bar.total = stage.total or None
    bar.n = stage.done
    epoch = f", epoch {stage.epoch}/{stage.epochs}" if stage.epochs else ""
    bar.set_postfix_str(f"{stage.phase}{epoch}")


def accuracy_table(iterations: list[Iteration]) -> str:
    """Accuracy against the reference labels, a line per round; empty where no reference labels were uploaded."""
    lines = ["round   LLM       SLM       final"]
    for iteration in iterations:
        metrics = RoundMetrics.of(iteration)
        shares = [part.accuracy for part in (metrics.llm, metrics.slm, metrics.final)]
        if any(share is not None for share in shares):
            shown = ["–" if share is None else f"{share * 100:.1f} %" for share in shares]
            lines.append(f"{iteration.number:<8}" + "".join(f"{share:<10}" for share in shown).rstrip())
    return "\n".join(lines) if len(lines) > 1 else ""
