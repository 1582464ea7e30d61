"""Work on stages: ``coral worker --queues llm,files --threads 8``."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Collection
from datetime import timedelta
from typing import Any

import dramatiq
from axes.models import AccessAttempt, AccessLog
from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection
from django.utils import timezone

from annotation.errors import AnnotationError
from annotation.jobs import broker, state, turns, work
from annotation.jobs.lease import shutting_down
from annotation.jobs.reaper import reap
from annotation.worker.fitness import misfits

logger = logging.getLogger(__name__)

STOP_SECONDS = 20.0
LAST_SECONDS = 25.0
REAP_SECONDS = 3.0
FITNESS_SECONDS = 30.0
UNFIT_SECONDS = 3.0
TIDY_SECONDS = 3600.0
LOGIN_DAYS = 90  # who logged in when is kept for so long
NICENESS = 10  # people come first: no page and no correction waits for a row of a run


class Command(BaseCommand):
    help = (
        "Work on the stages of some queues until SIGTERM or Ctrl-C: llm (LLM labeling), slm (training of the small "
        "model), files (import and export), short (what people wait for, and jobs of few rows). A stage at work is then "
        "handed back, to be gone on with by another worker. "
        "`coral up` starts the workers of one machine by itself."
    )
    requires_system_checks = ()  # `up` and the tests make them; a worker needs no pages

    def add_arguments(self, parser: CommandParser) -> None:
        known = ",".join(turns.queues())
        parser.add_argument("--queues", default=known, help=f"Comma-separated names; default: {known}.")
        parser.add_argument(
            "--threads",
            type=int,
            default=1,
            help="Stages of each queue at work at the same time; default: 1.",
        )

        parser.add_argument(
            "--gpu", default="", help="Number of the GPU that this worker uses; default: the first one."
        )

    def handle(self, *args: Any, queues: str, threads: int, gpu: str, **options: Any) -> None:
        os.nice(NICENESS)
        if gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = (
                gpu  # before anything loads torch; the training process inherits it
            )
        os.environ.setdefault("TQDM_DISABLE", "1")  # the libraries' progress bars are no lines for a log
        from annotation.worker import actors  # noqa: F401 (declares the queues)

        names = _queue_names(queues)
        if threads < 1:
            raise CommandError(f"--threads is {threads}; it must be at least 1.")
        over = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: over.set())
        # Each queue gets threads of its own by this: of no queue more is fetched than it has threads. So one queue's long
        # runs can't take those of another, and no waiting stage is hidden from idle workers.
        worker = dramatiq.Worker(dramatiq.get_broker(), queues=names, worker_threads=threads * len(names))
        worker.queue_prefetch = threads
        load_ahead(names)
        wait_until_fit(over)
        worker.start()
        reaper_thread = threading.Thread(
            target=reap_until, args=(over, sorted(names)), name="reaper", daemon=True
        )
        reaper_thread.start()
        logger.info("At work on %s, %d of each at a time", ", ".join(sorted(names)), threads)
        over.wait()
        logger.info("Stopping")
        shutting_down.set()
        threading.Thread(target=_leave_in_time, daemon=True).start()
        worker.stop(timeout=int(STOP_SECONDS * 1000))
        reaper_thread.join(STOP_SECONDS)
        state.wake_workers(names)


def wait_until_fit(over: threading.Event) -> None:
    """Take no work while this machine does not fit the others, and say why."""
    told: list[str] = []
    while not over.is_set() and (found := misfits_if_known()):
        if found != told:
            logger.error("This worker takes no work. %s", " ".join(found))
        told = found
        over.wait(UNFIT_SECONDS)


def misfits_if_known() -> list[str]:
    """Why this machine does not fit; nothing while the database can't be asked, since it can give no work either."""
    try:
        return misfits()
    except DatabaseError as error:
        logger.warning("The database does not answer: %s", error)
        connection.close()
        return []


def load_ahead(queues: Collection[str]) -> None:
    """Load what the LLM's first stage would otherwise wait for.

    What is loaded by now stays. The garbage collector need not look through it again and again, a tenth of a second each time.
    """
    if "llm" in queues:
        from annotation.pipeline.label import run_labeling  # noqa: F401
        from mlcore.llm.endpoint import client  # noqa: F401
    gc.collect()
    gc.freeze()


def _queue_names(queues: str) -> set[str]:
    names = {name.strip() for name in queues.split(",") if name.strip()}
    if not names or names - set(turns.queues()):
        raise CommandError(
            f"--queues is {queues!r}; allowed are {', '.join(turns.queues())}, separated by commas."
        )
    return names


def _leave_in_time() -> None:
    """End the process when it would wait in vain: for a broker that is gone, or a thread that can't be stopped.

    The reaper of another worker sees to what is left.
    """
    deadline = time.monotonic() + LAST_SECONDS
    while time.monotonic() < deadline and (work.is_at_work() or broker.broker_answers()):
        time.sleep(1)
    os._exit(1)


def reap_until(over: threading.Event, queues: list[str]) -> None:
    """Say that this worker is alive, and look for stages whose worker is not."""
    try:
        before = time.time() - time.monotonic()
        next_tidying, next_fitness = time.monotonic(), time.monotonic() + FITNESS_SECONDS
        while not over.wait(min(REAP_SECONDS, settings.LEASE_SECONDS / 2)):
            broker.report_worker(queues)
            offset = time.time() - time.monotonic()
            if abs(offset - before) > settings.LEASE_SECONDS / 2:
                # The machine slept, or its clock was set: leases look old that are alive. Let the workers renew them.
                over.wait(settings.LEASE_SECONDS)
            before = offset
            _reap_once()
            if time.monotonic() >= next_fitness:
                next_fitness = time.monotonic() + FITNESS_SECONDS
                if found := misfits_if_known():
                    logger.error("This worker stops. %s", " ".join(found))
                    over.set()
            if "files" in queues and time.monotonic() >= next_tidying:
                next_tidying = time.monotonic() + TIDY_SECONDS
                _tidy_up()
    finally:
        connection.close()  # this thread's own


def _tidy_up() -> None:
    from annotation.pipeline.export.run_export import remove_old_exports
    from annotation.pipeline.label.answer_cache import forget_old_answers
    from annotation.pipeline.project.archive import drop_copies

    try:
        remove_old_exports()
        drop_copies()
        forget_old_answers()
        SessionStore.clear_expired()
        AccessAttempt.objects.filter(attempt_time__lt=timezone.now() - timedelta(days=1)).delete()
        AccessLog.objects.filter(attempt_time__lt=timezone.now() - timedelta(days=LOGIN_DAYS)).delete()
    except (OSError, DatabaseError, AnnotationError):
        logger.exception(
            "Old exports, answers and logins could not be removed; it is tried again in an hour."
        )


def _reap_once() -> None:
    try:
        reap()
    except Exception:  # the database is away, or busy for too long: it comes again in a few seconds
        logger.exception("The reaper failed; it is tried again.")
        connection.close()
