"""A worker's part: take up a queued stage, do its work under a lease, and store how it ended."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.module_loading import import_string

from annotation.errors import AnnotationError, LeaseLostError, PausedError
from annotation.jobs.disk_space import is_disk_full, no_room
from annotation.jobs.kinds import detail_of, kind_of
from annotation.jobs.lease import Lease, lease_end, machine_name, shutting_down
from annotation.jobs.notify import notify_pages
from annotation.jobs.progress import D, Progress
from annotation.jobs.run_id import run_id
from annotation.jobs.state import SETTLED, replan, submit, tell_end
from annotation.jobs.turns import queue_of, waiting_in
from annotation.messages import message
from annotation.models import Stage
from annotation.models.sql import from_now
from mlcore.errors import EngineError, StoppedError
from mlcore.messages import Message

logger = logging.getLogger(__name__)

MOST_TRAININGS = 2  # at once in one worker: each is a process that takes a core and up to 1 GB

#: The stages that this process is at work on.
_at_work: dict[int, Stage] = {}


@dataclass(frozen=True, slots=True)
class Job(Generic[D]):
    """A stage that this process is at work on.

    Attributes:
        stage: the row as it was taken up, with what was reported since.
        lease: fences writes, and tells when to stop.
        progress: reports how far the work is.
    """

    stage: Stage
    lease: Lease
    progress: Progress[D]


def run_next(stage_id: int) -> None:
    """Answer a message: take up the stage whose turn it is of those that wait where this one was sent to."""
    stage = Stage.objects.filter(pk=stage_id).first()
    if stage is None:
        return
    if stage.status == Stage.Status.CANCELLED:
        run_stage(stage_id)
    queue = queue_of(stage)
    while (taken := _take_next(queue)) and (taken.parent_id or kind_of(taken).is_training):
        pass  # parts are many and messages for them few, and a training may have been passed over: who has done one goes on


def _take_next(queue: str) -> Stage | None:
    """Do the waiting work whose turn it is; None if there is none for this process."""
    for waiting in waiting_in(queue):
        if _has_room(waiting) and run_stage(waiting.pk):
            return waiting
    return None


def _has_room(waiting: Stage) -> bool:
    """Whether this process takes such a stage beside what it is at work on."""
    beside = list(_at_work.values())
    if kind_of(waiting).is_training:
        return sum(kind_of(stage).is_training for stage in beside) < MOST_TRAININGS
    # One process asks a server for one part as fast as for several.
    wholes = {stage.pk for stage in beside} | {stage.parent_id for stage in beside}
    return waiting.parent_id is None or waiting.parent_id not in wholes


def run_stage(stage_id: int) -> bool:
    """Do the work of a queued stage of any kind; of a cancelled one, end what it left at work elsewhere.

    Returns:
        Whether it was taken up; False if it was not queued any more.
    """
    with work_on(stage_id) as job:
        if job:
            import_string(kind_of(job.stage).run)(job)
    stage = Stage.objects.select_related("project", "iteration").filter(pk=stage_id).first()
    if stage and stage.status == Stage.Status.CANCELLED and (clean_up := kind_of(stage).after_cancel):
        import_string(clean_up)(stage)
    return job is not None


@contextmanager
def work_on(stage_id: int) -> Iterator[Job[Any] | None]:
    """Take up a queued stage, hold it under a heartbeat, and store how it ended.

    Yields None if there is nothing to do: somebody else has it, or it is not queued any more. Errors of the work end
    here: those with a sentence fail the stage with it, others with a general one and a traceback in the log.
    """
    job = take_up(stage_id)
    if job is None:
        yield None
        return
    token = run_id.set(str(job.stage.run_id))
    _at_work[stage_id] = job.stage
    logger.info("%s of project %d: attempt %d", job.stage.kind, job.stage.project_id, job.lease.attempt)
    try:
        with job.lease.heartbeat():
            try:
                yield job
            except StoppedError:
                _stop(job)
            except LeaseLostError as error:
                logger.warning("%s", error)
            except PausedError as error:
                logger.warning("Paused: %s", error)
                _pause(job, error)
            except (AnnotationError, EngineError) as error:
                logger.warning("Failed: %s", error)
                _end(job, Stage.Status.FAILED, error=error.message)
            except Exception as error:
                _fail(job, error)
            except BaseException:
                _stop(job)  # Ctrl-C in a command that does the work itself
                raise
            else:
                _finish(job)
    finally:
        _at_work.pop(stage_id, None)
        run_id.reset(token)


def is_at_work() -> bool:
    """Whether this process holds a stage."""
    return bool(_at_work)


def take_up(stage_id: int) -> Job[Any] | None:
    """Take a queued stage under a lease with a new attempt number; None if it is not queued any more."""
    if shutting_down.is_set():
        return None  # see annotation.jobs.state.wake_workers
    with transaction.atomic():
        taken = Stage.objects.filter(pk=stage_id, status=Stage.Status.QUEUED).update(
            status=Stage.Status.RUNNING,
            requested_action=Stage.RequestedAction.NONE,
            attempt=F("attempt") + 1,
            lease_until=lease_end(),
            worker=f"{machine_name()}:{os.getpid()}",
            started_at=Now(),
            finished_at=None,
            resume_at=None,
            updated_at=Now(),
            error="",
        )
        if not taken:
            return None
        stage = Stage.objects.select_related("project", "iteration").get(pk=stage_id)
    notify_pages(stage)
    lease = Lease(stage)
    return Job(stage, lease, Progress(lease))


def _stop(job: Job[Any]) -> None:
    """Do what a person requested; without a request the worker is going, so that another one is to go on."""
    with transaction.atomic():
        row = job.lease.owned().select_for_update().first()
        if row is None:
            return
        status = SETTLED.get(Stage.RequestedAction(row.requested_action), Stage.Status.QUEUED)
        _end(job, status)
        if status == Stage.Status.QUEUED:
            submit(row)


def _pause(job: Job[Any], error: PausedError) -> None:
    """Pause with a sentence, unless a person requested something meanwhile, and set when it is tried again."""
    with transaction.atomic():
        row = job.lease.owned().select_for_update().first()
        if row is None:
            return
        action = Stage.RequestedAction(row.requested_action)
        _end(job, SETTLED.get(action, Stage.Status.PAUSED), error=error.message)
        if error.retry_in is not None and not action:
            row.resume_at = from_now(seconds=error.retry_in)
            row.save(update_fields=["resume_at"])


def _finish(job: Job[Any]) -> None:
    """Set the stage to done and make what follows it in one transaction: a crash between the two loses neither."""
    with transaction.atomic():
        follow = kind_of(job.stage).follow
        if not _end(job, Stage.Status.DONE) or not follow:
            return
        ended = Stage.objects.select_related("project", "iteration").get(pk=job.stage.pk)
        try:
            with transaction.atomic():
                import_string(follow)(ended)
        except AnnotationError as error:
            logger.warning("Done, but the next stage could not be started: %s", error)
            ended.detail = replace(detail_of(ended), not_followed=error.message.as_json()).to_json()
            ended.save(update_fields=["detail"])


def _fail(job: Job[Any], error: Exception) -> None:
    """End a stage by an error that has no sentence of its own."""
    full = is_disk_full(error)
    if isinstance(error, OperationalError | InterfaceError) and not full:
        # The database was locked for too long, or went away: nothing is sure to be writable now. The lease
        # runs out, and the reaper has the stage tried again, a few times.
        logger.exception("The database failed; the stage will be tried again.")
        return
    logger.exception("The disk is full." if full else "Failed by an unexpected error.")
    try:
        _end(job, Stage.Status.FAILED, error=no_room() if full else _unexpected(job.stage))
    except OperationalError:
        if not full:
            raise
        logger.exception("That can't be written down either; the stage will be tried again.")


def _end(job: Job[Any], status: str, *, error: Message | None = None) -> bool:
    ended = status not in (Stage.Status.QUEUED, Stage.Status.PAUSED)
    written = job.lease.owned().update(
        **job.progress.unwritten(),
        status=status,
        requested_action=Stage.RequestedAction.NONE,
        error=error.as_text() if error else "",
        lease_until=None,
        updated_at=Now(),
        finished_at=Now() if ended else None,
        queued_at=Now() if status == Stage.Status.QUEUED else F("queued_at"),
        seconds=F("seconds") + job.lease.seconds(),
    )
    if written:
        logger.info("%s after %.1f s", status, job.lease.seconds())
        notify_pages(job.stage)
        if status != Stage.Status.QUEUED and job.stage.parent_id is None:
            tell_end(Stage.objects.select_related("project").get(pk=job.stage.pk))
            if not kind_of(job.stage).only_reads:
                replan(job.stage.project_id)
    else:
        logger.warning("The lease was lost before the end; another attempt owns the stage.")
    return bool(written)


def _unexpected(stage: Stage) -> Message:
    return message(
        "An unexpected error stopped the run; what was stored is kept. Resume it to continue. If it "
        "happens again, search the log for the run %(run)s.",
        run=str(stage.run_id)[:8],
    )
