from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.urls import path, re_path

from annotation.live.consumers import GoalConsumer, StageConsumer


async def not_found(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """Answers 404: without it channels raises an error for an address that is not there."""
    await send({"type": "websocket.http.response.start", "status": 404, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b""})


websocket_urlpatterns = [
    path("ws/stages/<int:stage_id>/", StageConsumer.as_asgi()),
    path("ws/projects/<int:project_id>/goal/", GoalConsumer.as_asgi()),
    re_path("", not_found),  # type: ignore[arg-type]  # an application, which channels takes and Django's types do not
]
