"""The stage row as a job: queue it, take it up under a lease, and see it to its end.

The row is the truth, the broker's messages are hints. A stage is taken up by a conditional update that gives it a
lease and a new attempt number; a heartbeat renews the lease. Every later write asks for that number, so a worker that
stalled and woke up late can write nothing (fencing). The sweep (:mod:`annotation.jobs.reaper`) finds stages whose worker is gone.

Leases are times of the machines' clocks. Clocks that differ by more than a lease make a stage change hands too early
(the fence keeps that harmless) or too late; keep several machines in step by NTP.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from annotation.errors import AnnotationError, BusyError, LeaseLostError, PausedError
from annotation.jobs.broker import QUEUES, wake_worker
from annotation.jobs.disk_space import is_disk_full, no_room
from annotation.jobs.lease import Claim, shutting_down
from annotation.jobs.notify import nudge
from annotation.jobs.run_id import run_id
from annotation.models import Stage
from mlcore.errors import EngineError, StoppedError

__all__ = [
    "Claim",
    "alone",
    "is_at_work",
    "request_cancel",
    "request_pause",
    "resume",
    "settle",
    "submit",
    "wake_workers",
    "work_on",
]

logger = logging.getLogger(__name__)

_at_work: set[int] = set()
RESUMABLE = (Stage.Status.PAUSED, Stage.Status.CANCELLED, Stage.Status.FAILED)
SETTLED = {Stage.Wish.PAUSE: Stage.Status.PAUSED, Stage.Wish.CANCEL: Stage.Status.CANCELLED}


@contextmanager
def alone(sentence: str) -> Iterator[None]:
    """A transaction that makes a stage, of which the database allows one at a time: two clicks at the same moment make one.

    Raises:
        BusyError: with ``sentence``, if there is one already.
    """
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        raise BusyError(sentence) from error


def another_at_work() -> str:
    return _("Another stage of this project is at work. Wait until it is done, or cancel it first.")


def submit(stage: Stage) -> None:
    """Wake a worker for a queued stage, once the surrounding transaction is committed."""
    queue, actor = QUEUES[Stage.Kind(stage.kind)]
    transaction.on_commit(partial(wake_worker, queue, actor, stage.pk))


def wake_workers(queues: Collection[str]) -> None:
    """Send the waiting stages of these queues again: a worker that is going may have taken messages and left them."""
    kinds = [kind for kind, (queue, _actor) in QUEUES.items() if queue in queues]
    for stage in Stage.objects.filter(status=Stage.Status.QUEUED, kind__in=kinds):
        submit(stage)


# --- What a person wishes -----------------------------------------------------------------------------------------


def request_pause(stage: Stage) -> None:
    """Pause a stage: at once if it waits, after its current batch if it runs. Does nothing to one that has ended."""
    _wish(stage, Stage.Wish.PAUSE)


def request_cancel(stage: Stage) -> None:
    """Cancel a stage: at once if it waits or pauses, after its current batch if it runs."""
    _wish(stage, Stage.Wish.CANCEL)


def resume(stage: Stage) -> None:
    """Queue a paused, cancelled or failed stage again; it goes on with what is stored.

    Raises:
        BusyError: another stage of the project is at work.
    """
    with alone(another_at_work()):
        row = Stage.objects.select_for_update().get(pk=stage.pk)
        if row.status == Stage.Status.RUNNING and row.wish == Stage.Wish.PAUSE:
            row.wish = Stage.Wish.NONE
        elif row.status in RESUMABLE:
            row.status, row.wish, row.error, row.crashes = Stage.Status.QUEUED, Stage.Wish.NONE, "", 0
            row.queued_at, row.finished_at, row.resume_at = timezone.now(), None, None
            submit(row)
        row.save()
    _changed(stage)


def _wish(stage: Stage, wish: Stage.Wish) -> None:
    with transaction.atomic():
        row = Stage.objects.select_for_update().get(pk=stage.pk)
        if row.status == Stage.Status.RUNNING and row.lease_until and row.lease_until > timezone.now():
            row.wish = row.wish if row.wish == Stage.Wish.CANCEL else wish
        elif row.status in (Stage.Status.QUEUED, Stage.Status.RUNNING) or (
            row.is_active and wish == Stage.Wish.CANCEL
        ):
            settle(row, SETTLED[wish])  # nobody is at work on it
        row.resume_at = None  # whoever pauses or cancels it doesn't want it tried again by itself
        row.save()
    _changed(stage)


def _changed(stage: Stage) -> None:
    stage.refresh_from_db()
    nudge(stage)


# --- A worker's part ----------------------------------------------------------------------------------------------


@contextmanager
def work_on(stage_id: int) -> Iterator[Claim | None]:
    """Take up a queued stage, hold it under a heartbeat, and write down how it ended.

    Yields None if there is nothing to do: somebody else has it, or it is not queued any more. Errors of the work end
    here: those with a sentence fail the stage with it, others with a general one and a traceback in the log.
    """
    claim = _take_up(stage_id)
    if claim is None:
        yield None
        return
    token = run_id.set(str(claim.stage.run_id))
    _at_work.add(stage_id)
    logger.info("%s of project %d: attempt %d", claim.stage.kind, claim.stage.project_id, claim.attempt)
    try:
        with _heartbeat(claim):
            try:
                yield claim
            except StoppedError:
                _stop(claim)
            except LeaseLostError as error:
                logger.warning("%s", error)
            except PausedError as error:
                logger.warning("Paused: %s", error)
                _pause(claim, error)
            except (AnnotationError, EngineError) as error:
                logger.warning("Failed: %s", error)
                _end(claim, Stage.Status.FAILED, error=str(error))
            except Exception as error:
                _fail(claim, error)
            except BaseException:
                _stop(claim)  # Ctrl-C in a command that does the work itself
                raise
            else:
                _finish(claim)
    finally:
        _at_work.discard(stage_id)
        run_id.reset(token)


def is_at_work() -> bool:
    """Whether this process holds a stage."""
    return bool(_at_work)


def _take_up(stage_id: int) -> Claim | None:
    if shutting_down.is_set():
        return None  # see wake_workers
    now = timezone.now()
    with transaction.atomic():
        taken = Stage.objects.filter(pk=stage_id, status=Stage.Status.QUEUED).update(
            status=Stage.Status.RUNNING,
            wish=Stage.Wish.NONE,
            attempt=F("attempt") + 1,
            lease_until=_lease_end(now),
            started_at=now,
            finished_at=None,
            resume_at=None,
            updated_at=now,
            error="",
        )
        if not taken:
            return None
        stage = Stage.objects.select_related("project", "iteration").get(pk=stage_id)
    nudge(stage)
    return Claim(stage)


def _lease_end(now: datetime) -> datetime:
    return now + timedelta(seconds=settings.LEASE_SECONDS)


@contextmanager
def _heartbeat(claim: Claim) -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(
        target=_beat, args=(claim, over), name=f"heartbeat-{claim.stage.pk}", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _beat(claim: Claim, over: threading.Event) -> None:
    try:
        while not over.wait(settings.LEASE_SECONDS / 3):
            try:
                if not claim.owned().update(lease_until=_lease_end(timezone.now())):
                    claim.lose()
                    return
            except DatabaseError as error:
                logger.warning("The lease could not be renewed, trying again: %s", error)
                connection.close()
    finally:
        connection.close()  # this thread's own


def _stop(claim: Claim) -> None:
    """Do what a person wished; without a wish the worker is going, so that another one is to go on."""
    with transaction.atomic():
        row = claim.owned().select_for_update().first()
        if row is None:
            return
        status = SETTLED.get(Stage.Wish(row.wish), Stage.Status.QUEUED)
        _end(claim, status)
        if status == Stage.Status.QUEUED:
            submit(row)


def _pause(claim: Claim, error: PausedError) -> None:
    """Pause with a sentence, unless a person wished something meanwhile, and set when it is tried again."""
    with transaction.atomic():
        row = claim.owned().select_for_update().first()
        if row is None:
            return
        wish = Stage.Wish(row.wish)
        _end(claim, SETTLED.get(wish, Stage.Status.PAUSED), error=str(error))
        if error.retry_in is not None and not wish:
            row.resume_at = timezone.now() + timedelta(seconds=error.retry_in)
            row.save(update_fields=["resume_at"])


def _finish(claim: Claim) -> None:
    """Set the stage to done and make what follows it in one transaction: a crash between the two loses neither."""
    with transaction.atomic():
        if not _end(claim, Stage.Status.DONE) or claim.on_done is None:
            return
        try:
            with transaction.atomic():
                claim.on_done()
        except AnnotationError as error:
            logger.warning("Done, but the next stage could not be started: %s", error)
            ended = Stage.objects.get(pk=claim.stage.pk)
            ended.detail["not_followed"] = str(error)
            ended.save(update_fields=["detail"])


def _fail(claim: Claim, error: Exception) -> None:
    """End a stage by an error that has no sentence of its own."""
    full = is_disk_full(error)
    if isinstance(error, OperationalError | InterfaceError) and not full:
        # The database was locked for too long, or went away: nothing is sure to be writable now. The lease
        # runs out, and the sweep has the stage tried again, a few times.
        logger.exception("The database failed; the stage will be tried again.")
        return
    logger.exception("The disk is full." if full else "Failed by an unexpected error.")
    try:
        _end(claim, Stage.Status.FAILED, error=no_room() if full else _unexpected(claim.stage))
    except OperationalError:
        if not full:
            raise
        logger.exception("That can't be written down either; the stage will be tried again.")


def _end(claim: Claim, status: str, *, error: str = "") -> bool:
    now = timezone.now()
    ended = status not in (Stage.Status.QUEUED, Stage.Status.PAUSED)
    written = claim.owned().update(
        **claim.unwritten(),
        status=status,
        wish=Stage.Wish.NONE,
        error=error,
        lease_until=None,
        updated_at=now,
        finished_at=now if ended else None,
        queued_at=now if status == Stage.Status.QUEUED else F("queued_at"),
        seconds=F("seconds") + claim.seconds(),
    )
    if written:
        logger.info("%s after %.1f s", status, claim.seconds())
        nudge(claim.stage)
    else:
        logger.warning("The lease was lost before the end; another attempt owns the stage.")
    return bool(written)


def _unexpected(stage: Stage) -> str:
    return _(
        "An unexpected error ended the run; what was stored is kept. Resume it to go on. If it happens again, look in "
        "the log for the run %(run)s."
    ) % {"run": str(stage.run_id)[:8]}


def settle(stage: Stage, status: Stage.Status) -> None:
    """Set where a stage stands that no living worker owns."""
    if stage.status == Stage.Status.RUNNING and stage.started_at:
        stage.seconds += max(0.0, (stage.updated_at - stage.started_at).total_seconds())
    stage.status, stage.wish, stage.lease_until = status, Stage.Wish.NONE, None
    if status in (Stage.Status.CANCELLED, Stage.Status.FAILED):
        stage.finished_at = timezone.now()
