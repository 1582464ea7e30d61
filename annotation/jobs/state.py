"""The stage row as a job: queue it, and do what a person asks of it.

The row is the truth, the broker's messages are hints. A stage is taken up by a conditional update that gives it a
lease and a new attempt number (:mod:`annotation.jobs.work`); a heartbeat renews the lease. Every later write asks for
that number, so a worker that stalled and woke up late can write nothing (fencing). The reaper
(:mod:`annotation.jobs.reaper`) takes back stages whose worker is gone.

Leases and waits are times of the database's clock, so machines' clocks may differ.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext_noop

from annotation.errors import BusyError
from annotation.jobs.broker import wake_worker
from annotation.jobs.details import Detail, Json
from annotation.jobs.kind import JobKind
from annotation.jobs.kinds import PLAN, WEBHOOK, keys, kind_of
from annotation.jobs.notify import notify_pages
from annotation.jobs.turns import queue_of, waiting_in
from annotation.jobs.webhook_detail import WebhookDetail
from annotation.messages import message_text
from annotation.models import Goal, Iteration, Project, Stage, Webhook
from annotation.models.sql import from_now

ANOTHER_AT_WORK = gettext_noop(
    "Another job of this project is running. Wait until it is done, or cancel it first."
)
KEPT_CALLS = 500  # of webhooks, in the log of a project
RESUMABLE = (Stage.Status.PAUSED, Stage.Status.CANCELLED, Stage.Status.FAILED)
SETTLED = {
    Stage.RequestedAction.PAUSE: Stage.Status.PAUSED,
    Stage.RequestedAction.CANCEL: Stage.Status.CANCELLED,
}


@contextmanager
def one_at_a_time(busy: str) -> Iterator[None]:
    """A transaction in which the database refuses a second row of what a project has one of: of two clicks, one counts.

    Raises:
        BusyError: with the message ``busy``, if there is one already.
    """
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        raise BusyError(busy) from error


def create_stage(
    project: Project,
    kind: JobKind,
    *,
    user: User | None,
    iteration: Iteration | None = None,
    total: int = 0,
    detail: Detail | None = None,
    busy: str = ANOTHER_AT_WORK,
) -> Stage:
    """A new stage, queued, with a worker woken once the surrounding transaction is committed.

    Args:
        user: who asked for it.
        iteration: the round that it belongs to.
        busy: the message where another such stage is active.

    Raises:
        BusyError: the project has an active stage of the kind's exclusive group, or the round a stage of this kind; or its
            owner has as many jobs as one may have.
    """
    _check_owner(project, kind)
    with one_at_a_time(busy):
        stage = Stage.objects.create(
            project=project,
            kind=kind.key,
            exclusive_group=kind.exclusive_group,
            iteration=iteration,
            queued_at=Now(),
            total=total,
            requested_by=user,
            detail=detail.to_json() if detail else {},
        )
        submit(stage)
    return stage


def _check_owner(project: Project, kind: JobKind) -> None:
    if kind.is_interactive or not settings.OWNER_JOBS:
        return
    at_work = Stage.objects.filter(
        project__owner=project.owner_id,
        parent=None,
        status__in=(Stage.Status.QUEUED, Stage.Status.RUNNING),
        kind__in=keys(lambda other: not other.is_interactive),
    )
    if at_work.count() >= settings.OWNER_JOBS:
        raise BusyError(
            "%(count)s jobs of your projects are running or waiting, as many as one owner may have (CORAL_OWNER_JOBS). "
            "Wait until one is done, or cancel one.",
            count=settings.OWNER_JOBS,
        )


def create_parts(stage: Stage, kind: JobKind, parts: Sequence[tuple[int, Detail]]) -> None:
    """Cut a stage into queued parts, each with its number of rows and its detail. No worker is woken."""
    made = [
        Stage(
            project=stage.project,
            parent=stage,
            kind=kind.key,
            total=rows,
            requested_by=stage.requested_by,
            detail=detail.to_json(),
        )
        for rows, detail in parts
    ]
    Stage.objects.bulk_create(made, batch_size=500)


def submit(stage: Stage) -> None:
    """Wake a worker for a queued stage, once the surrounding transaction is committed."""
    transaction.on_commit(partial(wake_worker, queue_of(stage), stage.pk))


def wake_workers(queues: Collection[str]) -> None:
    """Send the waiting stages of these queues again: a worker that is going may have taken messages and left them."""
    for queue in queues:
        for stage in waiting_in(queue):
            submit(stage)


def request_pause(stage: Stage) -> None:
    """Pause a stage: at once if it waits, after its current batch if it runs. Does nothing to one that has ended."""
    _request(stage, Stage.RequestedAction.PAUSE)


def request_cancel(stage: Stage) -> None:
    """Cancel a stage: at once if it waits or pauses, after its current batch if it runs."""
    _request(stage, Stage.RequestedAction.CANCEL)


def resume(stage: Stage) -> None:
    """Queue a paused, cancelled or failed stage again; it goes on with what is stored.

    Raises:
        BusyError: another stage of the project is at work.
    """
    with one_at_a_time(ANOTHER_AT_WORK):
        row = Stage.objects.select_for_update().get(pk=stage.pk)
        if row.status == Stage.Status.RUNNING and row.requested_action == Stage.RequestedAction.PAUSE:
            row.requested_action = Stage.RequestedAction.NONE
        elif row.status in RESUMABLE:
            _queue_again(row)
        row.save()
    _changed(stage)


def replan(project_id: int, *, unless_within: timedelta = timedelta(0)) -> None:
    """Have the project's plan made anew, if it has a goal. There is one such stage, queued again each time: ``total`` counts
    how often it was asked for, ``done`` how many of these it has seen.

    Args:
        unless_within: do nothing if the plan was asked for so short a time ago.
    """
    with transaction.atomic():
        goal = Goal.objects.filter(project=project_id, project__put_away_at__isnull=True).first()
        if goal is None:
            return
        plans = Stage.objects.filter(project=project_id, kind=PLAN.key)
        recent = plans.filter(queued_at__gt=from_now(seconds=-unless_within.total_seconds()))
        if unless_within and recent.exists():
            return  # before the lock below: people's answers would wait for each other
        Project.objects.select_for_update(no_key=True).get(pk=project_id)  # one stage, also on a double click
        stage = plans.select_for_update().first()
        if stage is None:
            create_stage(goal.project, PLAN, user=None, total=1)
        elif not unless_within or not recent.exists():
            stage.total += 1
            if not stage.is_active:
                _queue_again(stage)
            stage.save()


def tell_webhooks(project: Project, event: str, facts: Json, *, also: str = "") -> int:
    """Queue a call of each of the project's webhooks; returns of how many.

    Args:
        event: ``stage``, ``people``, ``certified`` or ``test``.
        facts: what is told, as JSON.
        also: an address that is called as well.
    """
    addresses = dict.fromkeys(
        [*filter(None, [also]), *Webhook.objects.filter(project=project).values_list("address", flat=True)]
    )
    for address in addresses:
        create_stage(
            project, WEBHOOK, user=None, detail=WebhookDetail(address=address, event=event, facts=facts)
        )
    calls = project.stages.filter(kind=WEBHOOK.key)
    if addresses:
        oldest = calls.order_by("-pk").values_list("pk", flat=True)[KEPT_CALLS:]
        calls.exclude(status__in=Stage.ACTIVE).filter(pk__in=list(oldest)).delete()
    return len(addresses)


def tell_end(stage: Stage) -> None:
    """Tell the webhooks that a job came to rest: done, failed, cancelled, or paused."""
    if not kind_of(stage).is_aside:
        names = ("kind", "status", "done", "total", "error")
        told = {name: getattr(stage, name) for name in names} | {"error": message_text(stage.error)}
        tell_webhooks(stage.project, "stage", {"stage": stage.pk} | told)


def plan_again(stage: Stage) -> None:
    """Queue a plan again that something happened to while it was made."""
    if stage.total > stage.done:
        _queue_again(stage)
        stage.save()


def plan_after(stage: Stage) -> None:
    """Have the plan made anew after a stage that only reads, but that the plan waits for."""
    replan(stage.project_id)


def _queue_again(stage: Stage) -> None:
    stage.status, stage.requested_action = Stage.Status.QUEUED, Stage.RequestedAction.NONE
    stage.error, stage.crashes = "", 0
    stage.queued_at, stage.finished_at, stage.resume_at = Now(), None, None
    submit(stage)


def settle(stage: Stage, status: Stage.Status) -> None:
    """Set the status of a stage that no living worker owns."""
    if stage.status == Stage.Status.RUNNING and stage.started_at:
        stage.seconds += max(0.0, (stage.updated_at - stage.started_at).total_seconds())
    stage.status, stage.requested_action, stage.lease_until = status, Stage.RequestedAction.NONE, None
    if status in (Stage.Status.CANCELLED, Stage.Status.FAILED):
        stage.finished_at = Now()
        tell_end(stage)


def _request(stage: Stage, action: Stage.RequestedAction) -> None:
    with transaction.atomic():
        row = Stage.objects.select_for_update().get(pk=stage.pk)
        if Stage.objects.filter(pk=row.pk, status=Stage.Status.RUNNING, lease_until__gt=Now()).exists():
            if row.requested_action != Stage.RequestedAction.CANCEL:  # a cancel is not softened to a pause
                row.requested_action = action
        elif row.status in (Stage.Status.QUEUED, Stage.Status.RUNNING) or (
            row.is_active and action == Stage.RequestedAction.CANCEL
        ):
            settle(row, SETTLED[action])  # nobody is at work on it
            if action == Stage.RequestedAction.CANCEL and kind_of(row).after_cancel:
                submit(row)
            replan(row.project_id)
        row.resume_at = None  # whoever pauses or cancels it doesn't want it tried again by itself
        row.save()
    # Without the lock on the whole, which a part at work wants while it holds its own. What waits is not taken up any more.
    for part in stage.parts.filter(status=Stage.Status.RUNNING):
        _request(part, Stage.RequestedAction.PAUSE)
    _changed(stage)


def _changed(stage: Stage) -> None:
    stage.refresh_from_db()
    notify_pages(stage)
