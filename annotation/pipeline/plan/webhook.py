"""Tell another program, once each time, that people are needed or that the certificate is there."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging

import aiohttp
from django.conf import settings
from django.utils import timezone

from annotation.jobs.details import PlanDetail
from annotation.messages import message, message_text
from annotation.models import Goal, Project
from annotation.pipeline.measure.certify import newest_certificate
from annotation.pipeline.measure.draw_sample import open_draws
from annotation.pipeline.project.connection import allowed_hosts
from mlcore.errors import MessageError
from mlcore.llm.endpoint.guard import Destination, GuardedConnection, check_address
from mlcore.messages import Message

logger = logging.getLogger(__name__)

SECONDS = 10.0


def webhook_key(project: Project) -> str:
    """The key with which a project's calls are signed; owners read it on the goal's page."""
    return hmac.new(
        settings.SECRET_KEY.encode(), f"webhook {project.pk}".encode(), hashlib.sha256
    ).hexdigest()


def state_to_tell(project: Project, now: PlanDetail) -> str:
    """``people`` where the plan waits for somebody, ``certified`` where it came to its end; empty otherwise."""
    if open_draws(project).exists() or (now.step and now.asks_first) or now.obstacle:
        return "people"
    return "certified" if newest_certificate(project) and not now.step else ""


def tell(project: Project, goal: Goal, now: PlanDetail, state: str) -> Message | None:
    """Post the state as JSON, signed: ``X-Coral-Signature`` is the body's HMAC-SHA256 with the project's key.

    Returns:
        Why it could not be told; None if it was.
    """
    why = now.obstacle or now.step.get("reason", "")
    told = {
        "project": project.pk,
        "name": project.name,
        "state": state,
        "rows": open_draws(project).count(),
        "reason": message_text(why),
        "accuracy": now.now,
        "at": timezone.now().isoformat(timespec="seconds"),
    }
    body = json.dumps(told, ensure_ascii=False).encode()
    signature = hmac.new(webhook_key(project).encode(), body, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "X-Coral-Signature": f"sha256={signature}"}
    try:
        destination = check_address(goal.webhook, allowed_hosts())
        status = asyncio.run(_post(destination, goal.webhook, headers, body))
    except MessageError as error:
        return error.message
    except (aiohttp.ClientError, OSError) as error:  # a timeout is an OSError
        logger.warning("The webhook of project %d was not reached: %s", project.pk, error)
        return message("The webhook was not reached: %(error)s.", error=str(error) or type(error).__name__)
    return (
        None
        if 200 <= status < 300
        else message("The webhook answered with status %(status)s.", status=status)
    )


async def _post(destination: Destination, url: str, headers: dict[str, str], body: bytes) -> int:
    connection = GuardedConnection(destination, connections=1)
    try:
        answer = await asyncio.wait_for(connection.post(url, headers=headers, body=body), SECONDS)
        return answer.status
    finally:
        await connection.close()
