"""Whoever tries too often waits for the refusal: a loop of tries then costs the pages of others little."""

from __future__ import annotations

import asyncio

from coral_site.body_limit import App, Message, Receive, Scope, Send

SECONDS = 1.0  # beside 40 loops a review page takes 1.2 times as long, without it 3.4 times (tests.bench.hostile, 2 cores)
TOO_MANY = 429


class SlowRefusals:
    """Holds back answers with the status 429, without holding a thread."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def slowly(message: Message) -> None:
            if message.get("status") == TOO_MANY:
                await asyncio.sleep(SECONDS)
            await send(message)

        await self._app(scope, receive, slowly)
