"""Live progress: tell open pages that a stage's row has changed, and what they then show of it.

A nudge carries nothing but the wish to re-read the row, so reload, reconnect and push can't disagree, and a lost one
costs a few seconds at most (the consumer looks again by itself).
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction
from dramatiq.asyncio import get_event_loop_thread

from annotation.jobs.broker import QUEUES, worker_seen
from annotation.models import Stage
from annotation.pipeline.measure import round_metrics

logger = logging.getLogger(__name__)

SEND_SECONDS = 2.0


def group_of(stage_id: int) -> str:
    """The name of the Channels group that follows a stage."""
    return f"stage.{stage_id}"


def nudge(stage: Stage) -> None:
    """Tell the pages that follow this stage to read it again, once the surrounding transaction is committed.

    Never fails: a broker that is away costs the hint and nothing else.
    """
    transaction.on_commit(partial(_send, stage.pk))


def stage_context(stage: Stage) -> dict[str, Any]:
    """What ``annotation/_stage_progress.html`` shows; the page that includes it and the consumer that pushes it agree."""
    return {
        "stage": stage,
        "project": stage.project,
        "rate": round_metrics.stage_rate(stage),
        "seconds_left": round_metrics.seconds_left(stage),
        "cost": round_metrics.stage_cost(stage),
        "cost_when_done": round_metrics.cost_when_done(stage),
        "clean_share": _clean_share(stage),
        "worker_missing": stage.status == Stage.Status.QUEUED
        and worker_seen(QUEUES[Stage.Kind(stage.kind)][0]) is False,
        "not_followed": _not_followed(stage),
    }


def _not_followed(stage: Stage) -> str:
    """Why what was to follow the stage could not be started, as long as nothing else has followed it."""
    why: str = stage.detail_value("not_followed", "")
    followers = (Stage.Kind.IMPORT, Stage.Kind.LLM, Stage.Kind.SLM)
    if why and stage.project.stages.filter(pk__gt=stage.pk, kind__in=followers).exists():
        return ""
    return why


def _clean_share(stage: Stage) -> float | None:
    """While a training runs, what its epoch learns from as clean; afterwards, what the table shows as clean."""
    of_epoch: float | None = stage.detail_value("clean_share")
    if stage.status != Stage.Status.DONE or stage.iteration is None:
        return of_epoch
    shown: float | None = stage.iteration.metrics.get("slm", {}).get("clean_share", of_epoch)
    return shown


def _send(stage_id: int) -> None:
    """Send from the worker's own event loop where there is one (one connection), otherwise from a passing one."""
    worker_loop = get_event_loop_thread()
    try:
        if worker_loop is None:
            async_to_sync(_group_send)(stage_id)
        else:
            sent = asyncio.run_coroutine_threadsafe(_group_send(stage_id), worker_loop.loop)
            sent.add_done_callback(partial(_log_failure, stage_id))
    except Exception as error:
        _log(stage_id, error)


async def _group_send(stage_id: int) -> None:
    layer = get_channel_layer()
    await asyncio.wait_for(layer.group_send(group_of(stage_id), {"type": "stage.changed"}), SEND_SECONDS)


def _log_failure(stage_id: int, sent: Future[None]) -> None:
    if not sent.cancelled() and (error := sent.exception()):
        _log(stage_id, error)


def _log(stage_id: int, error: BaseException) -> None:
    logger.warning(
        "Pages could not be told that stage %d changed: %s", stage_id, str(error) or type(error).__name__
    )
