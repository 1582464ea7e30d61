"""A websocket client for tests that talks to the application itself, without a server (as ``channels.testing`` does,
which needs daphne)."""

from __future__ import annotations

from typing import Any

from asgiref.testing import ApplicationCommunicator
from django.test import Client

from coral_site.asgi import application

SECONDS = 5.0


class Socket:
    """A page's websocket, with the cookies of a test client."""

    def __init__(self, client: Client, path: str, *, origin: str = "http://localhost") -> None:
        cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
        scope = {
            "type": "websocket",
            "path": path,
            "query_string": b"",
            "headers": [(b"origin", origin.encode()), (b"cookie", cookie.encode())],
            "subprotocols": [],
        }
        communicator: Any = ApplicationCommunicator  # asgiref gives it no types
        self._application = communicator(application, scope)

    async def connect(self) -> bool:
        """Whether the server accepts."""
        await self._application.send_input({"type": "websocket.connect"})
        message = await self._application.receive_output(SECONDS)
        return bool(message["type"] == "websocket.accept")

    async def pushed(self) -> str:
        """The next text that the server sends."""
        message = await self._application.receive_output(SECONDS)
        assert message["type"] == "websocket.send", message
        return str(message["text"])

    async def close_code(self) -> int:
        """The code with which the server closes; if it sends something before, that is an error."""
        message = await self._application.receive_output(SECONDS)
        assert message["type"] == "websocket.close", message
        return int(message["code"])

    async def is_silent(self, seconds: float) -> bool:
        return bool(await self._application.receive_nothing(seconds))

    async def close(self) -> None:
        await self._application.send_input({"type": "websocket.disconnect", "code": 1000})
        await self._application.wait(SECONDS)
