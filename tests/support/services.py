"""PostgreSQL and Redis of the system, started for the tests and stopped after them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import psycopg
import redis

START_SECONDS = 20.0


class MissingServerError(Exception):
    """The server's programs are not installed on this machine."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(ready: Callable[[], bool], *, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)


class RedisServer:
    """A Redis server on a free port, without persistence."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            raise MissingServerError("There is no redis-server or valkey-server (Debian: redis-server).")
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        self._command = [
            program,
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(folder),
            "--save",
            "",
        ]

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_for(self._answers, seconds=START_SECONDS, what="Redis starts")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)

    def restart(self) -> None:
        """Crash, and start again with nothing in it."""
        self.process.kill()
        self.process.wait(10)
        self.__enter__()

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


class PostgresServer:
    """A PostgreSQL server in a folder of its own, on a unix socket. It never runs as root, so root lends it a user.

    Args:
        fsync: whether it waits for the disk, as a real one does; tests have no use for that.
    """

    def __init__(self, folder: Path, *, fsync: bool = False) -> None:
        self._options = [] if fsync else ["-F"]
        installed = sorted(
            Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4])
        )
        found = shutil.which("initdb") or (str(installed[-1]) if installed else None)
        if found is None:
            raise MissingServerError("There is no initdb (Debian: postgresql).")
        self._programs = Path(found).parent
        self._user = "postgres" if os.geteuid() == 0 else None

    def __enter__(self) -> Self:
        # Outside pytest's folders: another user must be able to enter it, and a socket's path may have 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="coral-pg-"))
        if self._user:
            shutil.chown(self._folder, self._user)
        self._run(
            "initdb", "--auth=trust", "--username=coral", "--encoding=UTF8", "--no-sync", "-D", self._data
        )
        self.url = f"postgres://coral@/postgres?host={self._folder}"
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._crash()
        shutil.rmtree(self._folder, ignore_errors=True)

    def restart(self) -> None:
        """Crash, and start again with what was committed."""
        self._crash()
        self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [self._programs / "postgres", "-D", self._data, "-k", self._folder, "-h", "", *self._options],
            user=self._user, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(self._answers, seconds=START_SECONDS, what="PostgreSQL starts")

    def _crash(self) -> None:
        self._run("pg_ctl", "stop", "-m", "immediate", "-D", self._data)
        self.process.wait(10)

    def make_database(self, name: str) -> str:
        """Make a database and return its address."""
        with psycopg.connect(self.url.replace("postgres://", "postgresql://"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return f"postgres://coral@/{name}?host={self._folder}"

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _run(self, program: str, *arguments: str | Path) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            user=self._user,
            cwd=self._folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url.replace("postgres://", "postgresql://")):
                return True
        except psycopg.OperationalError:
            return False
