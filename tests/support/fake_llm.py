"""A real HTTP server on loopback that plays a language model, and every way in which one can misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """What the server does with one call.

    ``drip``: seconds between single bytes of the body. ``cut``: announce this many bytes more than are sent, then
    close. ``reset``: break the connection without an answer. ``endless``: send the body again and again.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float = 0.0
    cut: int = 0
    reset: bool = False
    endless: bool = False
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class Call:
    """One call that arrived."""

    path: str
    headers: Mapping[str, str]
    json: Any
    method: str = "POST"
    body: bytes = b""

    @property
    def prompt(self) -> str:
        return str(self.json["messages"][0]["content"])


def says(text: str | None, **more: Any) -> Step:
    """A well-formed answer."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}, **more}
    usage = {"prompt_tokens": 40, "completion_tokens": 3, "total_tokens": 43}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "fake", "choices": [choice]}
    return Step(body=json.dumps({**body, "usage": usage}).encode())


def fails(status: int, body: str = "inner secret", **headers: str) -> Step:
    return Step(
        status=status,
        body=body.encode(),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


Script = Callable[[int, Call], Step]


def play(*steps: Step, then: Step | None = None) -> Script:
    """The steps in order, then ``then`` (or the last step) for ever."""

    def script(number: int, _call: Call) -> Step:
        return steps[number] if number < len(steps) else (then or steps[-1])

    return script


class FakeLlm:
    """The server; use :func:`fake_llm`. ``tls``: it speaks https."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.tls = tls
        self.calls: list[Call] = []
        self.most_at_once = 0
        self.port = 0
        self._now = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        """End the server, and the calls that it is still playing."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while call := await _read_call(reader):
                number = len(self.calls)
                self.calls.append(call)
                self._now += 1
                self.most_at_once = max(self.most_at_once, self._now)
                try:
                    keep = await _perform(self.script(number, call), writer)
                finally:
                    self._now -= 1
                if not keep:
                    break
        writer.close()


@contextlib.contextmanager
def fake_llm(
    script: Script | Step | Sequence[Step], *, tls: ssl.SSLContext | None = None
) -> Iterator[FakeLlm]:
    """A server that plays the script, or answers every call with the step, for the length of the block."""
    if isinstance(script, Step):
        script = play(script)
    elif not callable(script):
        script = play(*script)
    server = FakeLlm(script, tls)
    server.start()
    try:
        yield server
    finally:
        server.stop()


async def _read_call(reader: asyncio.StreamReader) -> Call | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.split("\r\n")
    headers = {}
    for line in filter(None, lines):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, path, _version = first.split(" ")
    is_json = "json" in headers.get("content-type", "json")
    return Call(path, headers, json.loads(body) if body and is_json else None, method, body)


async def _perform(step: Step, writer: asyncio.StreamWriter) -> bool:
    """Do what the step says; False if the connection ends with it."""
    if step.delay:
        await asyncio.sleep(step.delay)
    if step.reset:
        _break_connection(writer)
        return False
    if step.raw:
        writer.write(step.raw)
        await writer.drain()
        return False
    length = {} if step.endless else {"Content-Length": str(len(step.body) + step.cut)}
    headers = {"Content-Type": "application/json", **length, **step.headers}
    head = f"HTTP/1.1 {step.status} Status\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in headers.items()
    )
    writer.write(head.encode() + b"\r\n")
    if step.drip:
        for byte in step.body:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(step.drip)
    elif step.endless:
        for _ in range(10_000):
            writer.write(step.body)
            await writer.drain()
    else:
        writer.write(step.body)
    await writer.drain()
    return not (step.cut or step.endless)


def _break_connection(writer: asyncio.StreamWriter) -> None:
    import socket

    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
