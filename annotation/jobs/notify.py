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


def project_group(project_id: int) -> str:
    """The name of the Channels group that follows where a project stands."""
    return f"project.{project_id}"


def notify_pages(stage: Stage) -> None:
    """Tell the pages that follow this stage to read it again, once the surrounding transaction is committed.

    Never fails: a broker that is away costs the hint and nothing else.
    """
    transaction.on_commit(partial(_send, group_of(stage.pk), project_group(stage.project_id)))


def notify_project(project_id: int) -> None:
    """The same for the pages that show where the project stands."""
    transaction.on_commit(partial(_send, project_group(project_id)))


def _send(*groups: str) -> None:
    """Send from the worker's own event loop where there is one (one connection), otherwise from a passing one."""
    worker_loop = get_event_loop_thread()
    try:
        if worker_loop is None:
            async_to_sync(_group_send)(*groups)
        else:
            sent = asyncio.run_coroutine_threadsafe(_group_send(*groups), worker_loop.loop)
            sent.add_done_callback(partial(_log_failure, groups))
    except Exception as error:
        _log(groups, error)


async def _group_send(*groups: str) -> None:
    layer = get_channel_layer()
    sends = asyncio.gather(*(layer.group_send(group, {"type": "stage.changed"}) for group in groups))
    await asyncio.wait_for(sends, SEND_SECONDS)


def _log_failure(groups: tuple[str, ...], sent: Future[None]) -> None:
    if not sent.cancelled() and (error := sent.exception()):
        _log(groups, error)


def _log(groups: tuple[str, ...], error: BaseException) -> None:
    logger.warning(
        "Pages could not be told that %s changed: %s", groups[0], str(error) or type(error).__name__
    )
