"""How much a request may send. Django stores a body whole on the disk before any view, even of a stranger, and believes what
the request says of its length; so the bytes are counted here as they come in."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from importlib import import_module
from io import BytesIO
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.core.handlers.asgi import ASGIRequest
from django.http import parse_cookie
from django.utils.translation import get_language_from_request, override
from django.utils.translation import gettext as _

from annotation.models import Membership, Role
from annotation.pipeline.project.tokens import token_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

#: Form fields may hold 5 MB (``DATA_UPLOAD_MAX_MEMORY_SIZE``); the rest is for what encodes them.
FORM_BYTES = 16 * 2**20
#: Files of one upload, each of which is checked against CORAL_UPLOAD_MAX_MB as well.
FILES = 10
_UPLOAD = re.compile(r"^/(?:projects/(\d{1,18})/configure/data/upload/|api/v1/projects/(\d{1,18})/uploads)$")


class BodyLimit:
    """Answers 413 as soon as a request has sent more than its address takes: files for the upload of an owner of
    the project, and a form anywhere else."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        most, seen = FORM_BYTES, 0
        declared = _header(scope, b"content-length")

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            return message if seen <= most else {"type": "http.disconnect"}  # Django drops what it has stored

        if (match := _UPLOAD.match(scope["path"])) and await _may_upload(scope, int(match[1] or match[2])):
            most = FILES * settings.UPLOAD_MAX_MB * 2**20 + FORM_BYTES
        if declared.isdecimal() and int(declared) > most:
            await _refuse(scope, send, most)
            return
        await self._app(scope, counted, send)
        if seen > most:
            await _refuse(scope, send, most)


def _header(scope: Scope, name: bytes) -> str:
    return str(dict(scope["headers"]).get(name, b"").decode("latin-1"))


@database_sync_to_async  # type: ignore[untyped-decorator]
def _may_upload(scope: Scope, project: int) -> bool:
    key = parse_cookie(_header(scope, b"cookie")).get(settings.SESSION_COOKIE_NAME)
    user = import_module(settings.SESSION_ENGINE).SessionStore(key).get(SESSION_KEY) if key else None
    if secret := _header(scope, b"authorization").partition(" ")[2]:
        token = token_of(secret)
        user = token.user_id if token else None
    if user is None:
        return False
    return Membership.objects.filter(project=project, role=Role.OWNER, user=int(user)).exists()


async def _refuse(scope: Scope, send: Send, most: int) -> None:
    with override(get_language_from_request(ASGIRequest(scope, BytesIO()))):
        sentence = _("The request is larger than %(most)d MB, the maximum at this address.")
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": f"{sentence % {'most': most // 2**20}}\n".encode()})
