"""Find the stages that ought to be at work and are not, and see that somebody takes them up, or says why not."""

from __future__ import annotations

import logging
from dataclasses import replace

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from annotation.jobs import state
from annotation.jobs.kinds import KINDS, detail_of
from annotation.jobs.notify import notify_pages
from annotation.messages import message
from annotation.models import Stage

logger = logging.getLogger(__name__)


def reap() -> int:
    """Wake a worker for every stage that ought to be at work and is not; return how many there were.

    A running stage whose lease ran out has lost its worker: it is queued again, or failed after
    ``settings.MAX_ATTEMPTS`` such deaths in a row. One that paused by itself is tried again
    when its wait is over. Any number of processes may do so at the same time.
    """
    overdue = Stage.objects.overdue().filter(
        kind__in=KINDS
    )  # those of a newer version's kinds are left to it
    return sum(_revive(pk) for pk in list(overdue.values_list("pk", flat=True)))


def _revive(stage_id: int) -> bool:
    with transaction.atomic():
        row = Stage.objects.overdue().select_for_update().filter(pk=stage_id).first()
        if row is None:
            return False  # another reaper, or a late heartbeat, was here first
        if row.status == Stage.Status.RUNNING:
            _count_death(row)
        elif row.status == Stage.Status.PAUSED:  # the wait after a run of failures is over
            row.status, row.resume_at = Stage.Status.QUEUED, None
        if row.status == Stage.Status.QUEUED:
            row.queued_at = Now()  # so that it is sent once in a lease time, not by every reaper
            state.submit(row)
        row.save()
    notify_pages(row)
    return True


def _count_death(stage: Stage) -> None:
    """Deaths are in a row while none of the attempts gets further than the ones before: a run of days may outlive any
    number of restarted machines, one that ends its worker at the same row each time is given up."""
    detail = detail_of(stage)
    reached, furthest = [stage.epoch, stage.done], detail.died_at
    stage.crashes = 1 if stage.crashes and reached > furthest else stage.crashes + 1
    stage.detail = replace(detail, died_at=max(reached, furthest)).to_json()
    logger.warning("Stage %d lost its worker (%d in a row).", stage.pk, stage.crashes)
    if stage.requested_action:
        state.settle(stage, state.SETTLED[Stage.RequestedAction(stage.requested_action)])
    elif stage.crashes >= settings.MAX_ATTEMPTS:
        stage.error = message(
            "The worker crashed %(count)s times in a row on this job, so it is not retried. Search the "
            "log for the run %(run)s, fix the cause, then resume. What was stored is kept.",
            count=stage.crashes,
            run=str(stage.run_id)[:8],
        ).as_text()
        state.settle(stage, Stage.Status.FAILED)
    else:
        state.settle(stage, Stage.Status.QUEUED)
