"""The web server's patience: a connection that sends no request is closed, one that does is served."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn

from annotation.management.commands import web


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(0.5 if scope["path"] == "/slow" else 0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def served(talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]) -> bytes:
    """What a client reads from a server with the protocol under test."""
    config = uvicorn.Config(answer, port=0, lifespan="off", http=web.PatientProtocol, log_config=None)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname()[:2])
    try:
        return await asyncio.wait_for(talk(reader, writer), 5)
    finally:
        writer.close()
        server.should_exit = True
        await task


async def send_half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
    return await reader.read()


async def send_whole_and_half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    first = await reader.readuntil(b"ok")
    writer.write(b"GET / HTTP/1.1\r\n")
    return first + await reader.read()


async def ask_something_slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    return await reader.readuntil(b"ok")


@pytest.mark.parametrize("talk", [send_half, send_whole_and_half])
def test_a_half_sent_request_is_closed(talk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "HEAD_SECONDS", 0.2)
    received = asyncio.run(served(talk))
    assert received.count(b"200 OK") == (talk is send_whole_and_half)


def test_a_page_that_takes_longer_than_a_head_may_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "HEAD_SECONDS", 0.2)
    assert b"200 OK" in asyncio.run(served(ask_something_slow))


def test_the_process_may_open_as_many_files_as_the_system_allows() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[0]), before[1]))
    try:
        web.raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
