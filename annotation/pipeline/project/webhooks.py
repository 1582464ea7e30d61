"""A project's webhooks: addresses that another program is told at when something happened. A call is a stage, so that it is tried
again after a failure, can be seen, and is lost by no crash."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from dataclasses import replace

import aiohttp
from django.conf import settings
from django.contrib.auth.models import User
from django.utils.translation import gettext_noop

from annotation.errors import AnnotationError, PausedError
from annotation.jobs.state import one_at_a_time
from annotation.jobs.webhook_detail import WebhookDetail
from annotation.jobs.work import Job
from annotation.messages import message
from annotation.models import Activity, Project, Webhook
from annotation.pipeline.project import activity
from annotation.pipeline.project.connection import allowed_hosts
from mlcore.llm.endpoint.guard import (
    AnswerUnreadableError,
    Destination,
    GuardedConnection,
    RedirectRefusedError,
    check_address,
)
from mlcore.messages import Message

SAME_ADDRESS = gettext_noop("The project has a webhook with this address already.")
MOST_WEBHOOKS = 10
SECONDS = 10.0
#: Seconds until a call that failed is tried again; after the last of them it fails for good, some nine hours after the first.
WAITS = (10, 60, 300, 1_800, 7_200, 21_600)


def add_webhook(project: Project, address: str, *, user: User) -> Webhook:
    """Have an address called from now on.

    Raises:
        AnnotationError: the project has too many.
        BusyError: it has this one already.
    """
    if Webhook.objects.filter(project=project).count() >= MOST_WEBHOOKS:
        raise AnnotationError(
            "The project has %(most)s webhooks, the maximum. Remove one first.", most=MOST_WEBHOOKS
        )
    with one_at_a_time(SAME_ADDRESS):
        webhook = Webhook.objects.create(project=project, address=address, created_by=user)
    activity.record(project, user=user, verb=Activity.Verb.ADDED, what=f"webhook {address.partition('?')[0]}")
    return webhook


def remove_webhook(webhook: Webhook, *, user: User) -> None:
    """Call the address no more; what was told stays in the log."""
    webhook.delete()
    what = f"webhook {webhook.address.partition('?')[0]}"
    activity.record(webhook.project, user=user, verb=Activity.Verb.REMOVED, what=what)


def webhook_key(project: Project) -> str:
    """The key with which a project's calls are signed; owners read it on the page of the webhooks."""
    return hmac.new(
        settings.SECRET_KEY.encode(), f"webhook {project.pk}".encode(), hashlib.sha256
    ).hexdigest()


def run_call(job: Job[WebhookDetail]) -> None:
    """Post what is told as JSON, signed: ``X-Coral-Signature`` is the body's HMAC-SHA256 with the project's key.

    Raises:
        PausedError: the address did not take it, and is tried again by itself.
        AnnotationError: it did not take it for the last time.
        ModelUnavailableError: the address is not allowed (any more).
    """
    detail, project = job.progress.detail, job.stage.project
    destination = check_address(detail.address, allowed_hosts())
    told = {"event": detail.event, "project": project.pk, "name": project.name, **detail.facts}
    told["at"] = job.stage.queued_at.isoformat(timespec="seconds")
    body = json.dumps(told, ensure_ascii=False).encode()
    signature = hmac.new(webhook_key(project).encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-Coral-Call": str(job.stage.pk),  # the same at every try, so that a repeated one is known
        "X-Coral-Event": detail.event,
        "X-Coral-Signature": f"sha256={signature}",
    }
    answer, why = None, None
    try:
        answer = asyncio.run(_post(destination, detail.address, headers, body))
    except (aiohttp.ClientError, OSError) as error:  # a timeout is an OSError
        why = message("The webhook was not reached: %(error)s.", error=str(error) or type(error).__name__)
    except (AnswerUnreadableError, RedirectRefusedError) as error:
        why = error.message
    if answer is not None and not 200 <= answer < 300:
        why = message("The webhook answered with status %(status)s.", status=answer)
    tries = detail.tries + 1
    job.progress.report(detail=replace(detail, tries=tries, answer=answer), force=True)
    if why:
        raise _failure(why, tries)


def _failure(why: Message, tries: int) -> AnnotationError:
    return PausedError(why, retry_in=WAITS[tries - 1]) if tries <= len(WAITS) else AnnotationError(why)


async def _post(destination: Destination, url: str, headers: dict[str, str], body: bytes) -> int:
    connection = GuardedConnection(destination, connections=1)
    try:
        answer = await asyncio.wait_for(connection.post(url, headers=headers, body=body), SECONDS)
        return answer.status
    finally:
        await connection.close()
