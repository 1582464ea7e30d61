"""Serve the pages: ``coral web``."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import warnings
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, connections
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from annotation.worker.fitness import record_deployment

logger = logging.getLogger(__name__)

HEAD_SECONDS = 20.0  # a slow phone sends a head of 8 kB within a second or two
MAX_MESSAGE_BYTES = 64 * 1024  # a page sends nothing over its websocket


class Command(BaseCommand):
    help = "Serve the pages and websockets at CORAL_BIND until SIGTERM or Ctrl-C. `coral up` starts this by itself."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = bind_address(settings.BIND)
        keep_answers_through_power_cuts()
        os.umask(0o077)
        raise_file_limit()
        record_deployment()
        connections.close_all()
        # WhiteNoise's static files are small, so that they may be read whole; what is large is a Download.
        warnings.filterwarnings("ignore", "StreamingHttpResponse must consume synchronous iterators")
        logger.info("Serving at http://%s/", settings.BIND)
        module, name = settings.ASGI_APPLICATION.rsplit(".", 1)
        uvicorn.run(
            f"{module}:{name}",
            host=host,
            port=port,
            lifespan="off",
            timeout_graceful_shutdown=5,
            ws_max_size=MAX_MESSAGE_BYTES,
            http=PatientProtocol,
            proxy_headers=settings.HTTPS,  # a proxy that ends TLS says so in headers; without one nobody may
            forwarded_allow_ips=settings.PROXY_ADDRESSES,
            server_header=False,
            log_config=None,
            log_level="warning",
            access_log=False,
        )


class PatientProtocol(AutoHTTPProtocol):  # type: ignore[misc,valid-type]
    """uvicorn's protocol, which waits for the head of a request no longer than :data:`HEAD_SECONDS`.

    uvicorn itself waits for ever, so that a thousand half-sent requests of one machine would take all files of the process.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._timer is None and self._is_waiting():
            self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self._end_if_waiting)

    def _end_if_waiting(self) -> None:
        self._timer = None
        # A connection that became a websocket's is no longer among the server's own.
        if self in self.connections and self._is_waiting():
            self.transport.close()

    def _is_waiting(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)


def raise_file_limit() -> None:
    """Let this process open as many files as the system allows it: a connection is one."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def keep_answers_through_power_cuts() -> None:
    """Have SQLite put each commit of this process on the disk before the page says "saved".

    Elsewhere the newest commits may be lost with the power: workers write what a run does again, a person does not.
    """
    if connection.vendor == "sqlite":
        options = connections.settings["default"][
            "OPTIONS"
        ]  # of the connections that threads open from now on
        options["init_command"] += "PRAGMA synchronous=FULL;"
        connections.close_all()


def bind_address(bind: str) -> tuple[str, int]:
    """The host and the port of CORAL_BIND.

    Raises:
        CommandError: it is not of the form host:port.
    """
    host, _colon, port = bind.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise CommandError(
            f"CORAL_BIND is {bind!r}; it must be host:port, such as 127.0.0.1:8000 or [::]:8000."
        )
    return host.strip("[]"), int(port)
