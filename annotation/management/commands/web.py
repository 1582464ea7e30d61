"""Serve the pages: ``coral web``."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, connections

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 64 * 1024  # a page sends nothing over its websocket


class Command(BaseCommand):
    help = "Serve the pages and websockets at CORAL_BIND until SIGTERM or Ctrl-C. `coral up` starts this by itself."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = bind_address(settings.BIND)
        keep_answers_through_power_cuts()
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
            proxy_headers=settings.HTTPS,  # a proxy that ends TLS says so in headers; without one nobody may
            server_header=False,
            log_config=None,
            log_level="warning",
            access_log=False,
        )


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
