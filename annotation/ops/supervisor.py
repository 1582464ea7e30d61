"""Start child processes, show their logs, restart what dies, stop them in order.

A child runs in a session of its own, so that the terminal's Ctrl-C reaches the supervisor only, and asks the kernel
for a SIGTERM when the supervisor dies (Linux), so that nothing is left running after a kill -9 of it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
HEALTHY_SECONDS = 30.0  # a child that lived so long starts with the first delay again
POLL_SECONDS = 0.2
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Service:
    """A child process to keep running.

    Attributes:
        grace: seconds that it has to end after SIGTERM.
        foundation: the others need it, so it stops after them.
        once: it has an end; it is not started again.
    """

    name: str
    command: Sequence[str]
    grace: float = 10.0
    foundation: bool = False
    once: bool = False


@dataclass(slots=True)
class _Child:
    service: Service
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    delay: float = FIRST_DELAY
    due: float = 0.0


@dataclass
class Supervisor:
    """Keeps services running until it is asked to stop.

    Attributes:
        out: where the children's logs and our own words go, a line each.
        as_json: whether each line is a JSON object, as the children's logs are then, instead of a name and a text.
    """

    out: IO[str]
    as_json: bool = False
    _children: list[_Child] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _hurry: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def catch_signals(self) -> None:
        """Ctrl-C, SIGTERM and a closed terminal end the run in order; a second time, at once."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def say(self, line: str) -> None:
        self._print("up", line)

    def start(self, service: Service) -> None:
        """Start a service and keep it running."""
        child = _Child(service)
        self._children.append(child)
        self._spawn(child)

    def wait_until(self, ready: Callable[[], bool], *, seconds: float) -> bool:
        """Wait for something to be ready, reviving children meanwhile. False after so many seconds, or when stopping."""
        deadline = time.monotonic() + seconds
        while not self._stopping.is_set() and time.monotonic() < deadline:
            if ready():
                return True
            self._revive()
            self._stopping.wait(POLL_SECONDS)
        return False

    def restart(self) -> None:
        """End the services that are neither foundations nor run once; they start again by themselves."""
        for child in list(self._children):
            if child.process and not child.service.foundation and not child.service.once:
                child.delay = FIRST_DELAY
                child.process.terminate()

    def run(self) -> None:
        """Keep the services running until a signal comes."""
        while not self._stopping.wait(POLL_SECONDS):
            self._revive()

    def stop(self) -> None:
        """End the services, the foundations last; what does not end in its time is killed, with all its children."""
        for foundation in (False, True):
            children = [
                child for child in self._children if child.service.foundation == foundation and child.process
            ]
            for child in children:
                assert child.process is not None
                child.process.terminate()
            for child in children:
                self._wait_for_end(child)
        self._children.clear()

    # --- Inside ---------------------------------------------------------------------------------------------------

    def _on_signal(self, number: int, frame: object) -> None:
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    def _spawn(self, child: _Child) -> None:
        child.started = time.monotonic()
        child.process = subprocess.Popen(
            child.service.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with(os.getpid()) if _libc else None,
        )
        threading.Thread(target=self._pass_on, args=(child.service.name, child.process), daemon=True).start()

    def _pass_on(self, name: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._print(name, line.decode(errors="replace").rstrip())

    def _print(self, name: str, line: str) -> None:
        if not self.as_json:
            line = f"{name:<7}| {line}"
        elif not _is_json(line):  # our own words, and what a library or a dying interpreter prints
            line = json.dumps(
                {"time": datetime.now(UTC).isoformat(), "level": "INFO", "logger": name, "message": line},
                ensure_ascii=False,
            )
        with self._lock:
            try:
                self.out.write(f"{line}\n")
                self.out.flush()
            except OSError:
                pass  # nobody reads our output any more (a closed pipe); the children must not stall for it

    def _revive(self) -> None:
        for child in list(self._children):
            process, now = child.process, time.monotonic()
            if child.service.once and process and process.poll() is not None:
                self._children.remove(child)
                continue
            if process and process.poll() is not None:
                _kill_session(process.pid)  # its own children go with it
                child.delay = FIRST_DELAY if now - child.started > HEALTHY_SECONDS else child.delay
                self.say(
                    f"{child.service.name} {_how_it_ended(process.returncode)}; it starts again in {child.delay:g} s."
                )
                child.process, child.due = None, now + child.delay
                child.delay = min(child.delay * 2, LONGEST_DELAY)
            if child.process is None and now >= child.due:
                self._spawn(child)

    def _wait_for_end(self, child: _Child) -> None:
        assert child.process is not None
        deadline = time.monotonic() + child.service.grace
        while child.process.poll() is None and time.monotonic() < deadline and not self._hurry.is_set():
            time.sleep(0.05)
        if child.process.poll() is None:
            self.say(f"{child.service.name} does not end by itself; it is killed.")
        _kill_session(child.process.pid)
        child.process.wait()


def _is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _end_with(parent: int) -> Callable[[], None]:
    """What a child does before its program starts: bind its life to the supervisor's."""

    def bind() -> None:
        assert _libc is not None
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)

    return bind


def _kill_session(leader: int) -> None:
    with suppress(ProcessLookupError):  # all ended already
        os.killpg(leader, signal.SIGKILL)


def _how_it_ended(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
