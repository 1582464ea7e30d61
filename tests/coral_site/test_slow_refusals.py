"""A refusal for too many tries comes late, and nothing else does."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from coral_site import slow_refusals
from coral_site.asgi import application
from coral_site.slow_refusals import SlowRefusals


def seconds(status: int, *, at_once: int = 1) -> float:
    """How long so many requests take that are answered with this status."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def receive() -> Any:
        raise AssertionError

    async def ask() -> None:
        await asyncio.gather(*(SlowRefusals(app)({"type": "http"}, receive, send) for _ in range(at_once)))

    sent: list[str] = []
    began = time.monotonic()
    asyncio.run(ask())
    assert len(sent) == 2 * at_once
    return time.monotonic() - began


def test_only_too_many_tries_wait_and_all_of_them_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_refusals, "SECONDS", 0.5)
    assert seconds(200, at_once=40) < 0.4
    assert 0.5 <= seconds(429) < 0.9
    assert 0.5 <= seconds(429, at_once=40) < 1.5


def test_the_web_process_has_it_in_front() -> None:
    assert isinstance(application.application_mapping["http"], SlowRefusals)
