"""Between the caller's thread and the event loop's: requests on their way to the calls, answers on their way back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from mlcore.errors import StoppedError
from mlcore.records import Answer, Request

T = TypeVar("T")

FINISH_SECONDS = 3.0  # calls under way may end when the caller stops, since they are paid for
# Requests made before their turn: calls go on while the caller stores answers or reads rows.
INBOX_PER_CALL = 10
# Answers that may wait for the caller to store them: what a crash loses is paid for twice.
OUTBOX_PER_CALL = 2
_POLL_SECONDS = 0.1
_GATHER_SECONDS = 0.0003  # a call: 20 ms where 64 are made at once


class CallQueue:
    """One caller's requests and answers, both bounded.

    Args:
        loop: where the calls are made.
        calls: the most calls at once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, calls: int) -> None:
        self.stopping = threading.Event()
        self._loop = loop
        self._calls = calls
        self._inbox: asyncio.Queue[Request | None] = asyncio.Queue(INBOX_PER_CALL * calls)
        self._outbox: asyncio.Queue[Answer | None] = asyncio.Queue(OUTBOX_PER_CALL * calls)

    # --- The caller's side ----------------------------------------------------------------------------------------

    def answers(
        self,
        items: Iterable[Request | Answer],
        answer: Callable[[Request], Awaitable[Answer]],
        should_stop: Callable[[], bool],
    ) -> Iterator[Answer]:
        """Answers as they come, until the last one, or until the caller stopped and calls under way had time to end.

        Raises:
            EngineError: the first error that ``answer`` raised.
        """
        working = self._start(self._work_all(answer))
        taking = self._start(self._take())
        giving: Future[None] | None = None
        waiting: Iterator[Request | Answer] | None = iter(items)
        last_moment = float("inf")
        try:
            while time.monotonic() < last_moment:
                if not self.stopping.is_set() and should_stop():
                    self._loop.call_soon_threadsafe(self._stop)
                    self.stopping.set()
                    last_moment = time.monotonic() + FINISH_SECONDS
                known = None
                if waiting and not self.stopping.is_set() and (giving is None or giving.done()):
                    drawn, known = _draw(waiting, most=self._calls)
                    waiting = waiting if known or len(drawn) == self._calls else None
                    giving = self._start(self._give(drawn, is_last=waiting is None))
                if known:
                    yield known
                if not known or taking.done():
                    with suppress(TimeoutError):
                        received = taking.result(timeout=_POLL_SECONDS)
                        taking = self._start(self._take())
                        yield from (found for found in received if found is not None)
                        if None in received:
                            working.result()
                            return
        finally:
            for future in (working, taking, giving):
                if future is not None:
                    future.cancel()

    def _start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    # --- The loop's side ------------------------------------------------------------------------------------------

    async def _work_all(self, answer: Callable[[Request], Awaitable[Answer]]) -> None:
        """Answer requests, as many at once as there may be calls, until the last one or the first error."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._calls):
                    tasks.create_task(self._work(answer))
        except BaseExceptionGroup as group:
            await self._outbox.put(None)
            raise group.exceptions[0] from None
        await self._outbox.put(None)

    async def _work(self, answer: Callable[[Request], Awaitable[Answer]]) -> None:
        try:
            while (request := await self._inbox.get()) and not self.stopping.is_set():
                await self._outbox.put(await answer(request))
        except StoppedError:
            pass
        except Exception:
            self.stopping.set()  # before the others are cancelled, so that no call of theirs goes out
            raise
        self._stop()

    def _stop(self) -> None:
        """Wake who waits for a request; there are no more."""
        with suppress(asyncio.QueueFull):
            self._inbox.put_nowait(None)

    async def _give(self, requests: list[Request], *, is_last: bool) -> None:
        for request in requests:
            await self._inbox.put(request)
        if is_last:
            await self._inbox.put(None)

    async def _take(self) -> list[Answer | None]:
        """What has come. One wake for several answers: while the caller's thread runs, the calls' thread does not."""
        received = [await self._outbox.get()]
        await asyncio.sleep(_GATHER_SECONDS * self._calls)
        while not self._outbox.empty():
            received.append(self._outbox.get_nowait())
        return received


def _draw(waiting: Iterator[Request | Answer], *, most: int) -> tuple[list[Request], Answer | None]:
    """The next few requests; stops early for an answer that is known already, and returns it too.

    A few at a time, so that answers don't wait unread while many requests are being made.
    """
    drawn: list[Request] = []
    for item in waiting:
        if isinstance(item, Answer):
            return drawn, item
        drawn.append(item)
        if len(drawn) == most:
            break
    return drawn, None
