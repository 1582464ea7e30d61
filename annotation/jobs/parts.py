"""A stage in parts, each a stage of its own that any worker on any machine takes up.

The worker that holds the stage cuts it, takes parts as well, and goes on with the stage when the last one is done. A part
has its own lease and attempt, so one whose worker died is done again by another.
"""

from __future__ import annotations

from collections.abc import Callable
from time import sleep

from annotation.jobs import state
from annotation.jobs.broker import messages_waiting, wake_worker
from annotation.jobs.lease import Lease
from annotation.jobs.turns import queue_of
from annotation.jobs.work import run_stage
from annotation.models import Stage
from mlcore.errors import StoppedError

LOOK_SECONDS = 0.5


def do_parts(lease: Lease, end: Callable[[Stage], None]) -> None:
    """Have all parts of a stage done, by this worker and whoever else is free.

    Args:
        lease: of the whole.
        end: raises what the whole ends with, given a part that failed or paused with a sentence; the others are stopped.

    Raises:
        StoppedError: a person asked to pause or cancel, or it is another owner's turn.
    """
    stage = lease.stage
    for part in stage.parts.filter(status__in=state.RESUMABLE):  # of an attempt before a pause
        state.resume(part)
    parts = stage.parts.exclude(status=Stage.Status.DONE).order_by("pk")
    while parts.exists():
        stopped = parts.filter(status__in=state.RESUMABLE).exclude(error="").order_by("status", "pk").first()
        if stopped is not None:
            for part in parts.active():
                state.request_pause(part)
            end(stopped)
        if lease.should_stop():
            raise StoppedError
        if waiting := parts.filter(status=Stage.Status.QUEUED).first():
            run_stage(waiting.pk)
        else:
            sleep(LOOK_SECONDS)


def drop_parts(lease: Lease) -> None:
    """Remove the parts that are done. Call it in the transaction that says so of the whole."""
    lease.fence()
    lease.stage.parts.all().delete()


def wake_another(part: Stage) -> None:
    """Send for one more worker while parts wait: messages one by one, not thousands at once that a busy worker holds."""
    waiting = Stage.objects.filter(parent=part.parent_id, status=Stage.Status.QUEUED).order_by("pk").first()
    if waiting and messages_waiting(queue := queue_of(waiting)) == 0:
        wake_worker(queue, waiting.pk)
