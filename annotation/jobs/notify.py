"""Tell open pages that a stage's row has changed. The message carries nothing: pages read the row again."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from functools import partial

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction
from dramatiq.asyncio import get_event_loop_thread

from annotation.models import Stage

logger = logging.getLogger(__name__)


SEND_SECONDS = 2.0


def group_of(stage_id: int) -> str:
    """The name of the Channels group that follows a stage."""
    return f"stage.{stage_id}"


def notify_pages(stage: Stage) -> None:
    """Tell the pages that follow this stage to read it again, once the surrounding transaction is committed.

    Never fails: a broker that is away costs the hint and nothing else.
    """
    transaction.on_commit(partial(_send, stage.pk))


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
