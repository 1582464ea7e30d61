"""The whole program as a person starts it, ``manage.py up``, in a data folder and at an address of its own."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import psycopg
from django.conf import settings

from tests.support.services import free_port, wait_for

START_SECONDS = 150.0  # a busy machine takes longer by far than a free one


class Program:
    """Starts, kills and asks the program. Use it as a context manager; what it started is gone afterwards.

    Attributes:
        folder: holds its data folder and its log.
        address: where the pages are.
        password: of the account ``admin``, once the first start has printed it.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        bind = f"127.0.0.1:{free_port()}"
        self.address = f"http://{bind}"
        own = {"CORAL_DATA_DIR": str(folder / "data"), "CORAL_BIND": bind, "CORAL_LEASE_SECONDS": "2"}
        self._environment = {**os.environ, **own, **environment}
        self._log = folder / "up.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process and self._process.poll() is None:
            self.stop()

    # --- Starting and stopping ------------------------------------------------------------------------------------

    def start(self, *options: str) -> None:
        """Start everything and wait until it is there."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command("up", *options), env=self._environment, stdout=log, stderr=log
            )
        ready = "workers of this machine are started" if "--no-web" in options else "CORAL is at"
        wait_for(
            lambda: self._is_over() or ready in self.log, seconds=START_SECONDS, what="the program starts"
        )
        assert not self._is_over(), self.log

    def stop(self, number: int = signal.SIGINT) -> int:
        """End everything as Ctrl-C does and return the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(60)

    def kill(self, name: str) -> int:
        """SIGKILL a child by its name in the log (broker, web, llm, slm); return its process id."""
        return self.send(name, signal.SIGKILL)

    def send(self, name: str, number: int) -> int:
        pid = self.children()[name]
        os.kill(pid, number)
        return pid

    def start_worker(
        self, queues: str, *, threads: int = 1, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """One more worker, beside the supervisor's, as on a further machine; the caller ends it."""
        command = self._command("worker", "--queues", queues, "--threads", str(threads))
        return self._start(command, environment or {})

    def start_python(self, code: str) -> subprocess.Popen[bytes]:
        """A process with this code, in the program's environment; the caller ends it."""
        return self._start([sys.executable, "-c", code], {})

    def _start(self, command: list[str], more: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command, env={**self._environment, **more}, cwd=settings.BASE_DIR, stdout=log, stderr=log
            )

    def clear_log(self) -> None:
        self._log.write_text("")

    def kill_supervisor(self) -> list[int]:
        """SIGKILL the supervisor alone; return the process ids of the children that it leaves."""
        assert self._process is not None
        children = list(self.children().values())
        self._process.kill()
        self._process.wait()
        return children

    def kill_all(self) -> None:
        """SIGKILL the supervisor and all that it started at once, as when the power goes."""
        assert self._process is not None
        children = list(self.children().values())
        self._process.kill()
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        self._process.wait()

    # --- Asking ---------------------------------------------------------------------------------------------------

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def password(self) -> str:
        found = re.search(r"First login: admin, password (\S+)", self.log)
        assert found, self.log
        return found[1]

    def children(self) -> dict[str, int]:
        """The process ids of the supervisor's children, by their names in the log."""
        assert self._process is not None
        return {_name_of(_command_of(pid)): pid for pid in children_of(self._process.pid)}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run another command of manage.py in the program's environment."""
        return subprocess.run(
            self._command(*command), env=self._environment, capture_output=True, text=True, timeout=60
        )

    def execute(self, code: str, *, seconds: float = 60) -> str:
        """Run Python code against the program's database, as a page would, and return what it prints."""
        setup = "import os, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'coral_site.settings'; django.setup()\n"
        done = subprocess.run(
            [sys.executable, "-c", setup + code],
            env=self._environment,
            cwd=settings.BASE_DIR,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the program's database."""
        if url := self._environment.get("DATABASE_URL"):
            with psycopg.connect(url.replace("postgres://", "postgresql://")) as connection:
                return connection.execute(sql.encode()).fetchall()
        with closing(sqlite3.connect(self.folder / "data" / "coral.sqlite3", timeout=20)) as database:
            return database.execute(sql).fetchall()

    def wait_for_row(self, sql: str, *, seconds: float = 30.0) -> None:
        """Wait until a query finds something."""
        try:
            wait_for(lambda: bool(self.query(sql)), seconds=seconds, what=sql)
        except AssertionError as error:
            stages = self.query(
                "SELECT id, kind, status, done, total, attempt, crashes, error FROM annotation_stage"
            )
            raise AssertionError(f"{error}\nstages: {stages}\n{self.log}") from None

    def _command(self, *command: str) -> list[str]:
        return [sys.executable, str(settings.BASE_DIR / "manage.py"), *command]

    def _is_over(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None


def children_of(parent: int) -> list[int]:
    """The process ids of a process's living children."""
    return [
        int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _parent_of(int(entry.name)) == parent
    ]


def _parent_of(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def _command_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def _name_of(command: list[str]) -> str:
    if "worker" in command:
        return "slm" if "slm" in command else "llm"
    if "http.server" in command:
        return "llm-server"
    return next((name for name in ("web", "demo") if name in command), "broker")


def is_running(pid: int) -> bool:
    """Whether a process is there and not a zombie that waits for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
