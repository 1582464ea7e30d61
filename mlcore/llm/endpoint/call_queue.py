"""Between the caller's thread and the event loop's: requests on their way to the calls, answers on their way back."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from mlcore.records import Answer, Request

FINISH_SECONDS = 3.0  # calls under way may end when the caller stops, since they are paid for
# Requests made before their turn: calls go on while the caller stores answers or reads rows.
AHEAD_PER_CALL = 16
# Answers that may wait for the caller to store them: what a crash loses is paid for twice.
UNREAD_PER_CALL = 2
_POLL_SECONDS = 0.1
_GATHER_SECONDS = 0.0003  # a call: 20 ms where 64 are made at once
_ROOM_SECONDS = 0.005


class CallQueue:
    """One caller's requests and answers.

    Args:
        loop: where the calls are made.
        calls: the most calls at once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, calls: int) -> None:
        self.stopping = threading.Event()
        self._loop = loop
        self._calls = calls
        self._inbox: asyncio.Queue[Request | None] = asyncio.Queue()
        self._outbox: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._ahead = 0  # requests that were given and whose answer wasn't taken yet
        self._has_more = True

    # --- The caller's side ----------------------------------------------------------------------------------------

    def answers(self, items: Iterable[Request | Answer], should_stop: Callable[[], bool]) -> Iterator[Answer]:
        """Answers as they come, until the last one, or until the caller stopped and calls under way had time to end."""
        waiting = iter(items)
        last_moment = float("inf")
        while time.monotonic() < last_moment:
            if not self.stopping.is_set() and should_stop():
                self.stopping.set()
                self._give([None])
                last_moment = time.monotonic() + FINISH_SECONDS
            known = None if self.stopping.is_set() else self._draw(waiting)
            if known:
                yield known
            for answer in self._read(wait=not known):
                if answer is None:
                    return
                self._ahead -= 1
                yield answer

    def _read(self, *, wait: bool) -> list[Answer | None]:
        """What has come. One wake for several answers: while this thread runs, the calls' thread does not."""
        found: list[Answer | None] = []
        with suppress(queue.Empty):
            found.append(self._outbox.get(timeout=_POLL_SECONDS if wait else 0))
            if wait:
                time.sleep(_GATHER_SECONDS * self._calls)
            while True:
                found.append(self._outbox.get_nowait())
        return found

    def _draw(self, waiting: Iterator[Request | Answer]) -> Answer | None:
        """Give some requests if few are ahead; stop early for an answer that is known already, and return it.

        A few at a time, so that answers don't wait unread while many requests are being made.
        """
        if not self._has_more or self._ahead > (AHEAD_PER_CALL - 1) * self._calls:
            return None
        given: list[Request | None] = []
        for item in waiting:
            if isinstance(item, Answer):
                self._give(given)
                return item
            given.append(item)
            self._ahead += 1
            if len(given) >= self._calls:
                self._give(given)
                return None
        self._has_more = False
        self._give([*given, None])
        return None

    def _give(self, requests: list[Request | None]) -> None:
        if requests:
            self._loop.call_soon_threadsafe(self._take_in, requests)

    def end(self) -> None:
        """Tell the caller that no answer comes any more."""
        self._outbox.put(None)

    # --- The loop's side ------------------------------------------------------------------------------------------

    def _take_in(self, requests: list[Request | None]) -> None:
        for request in requests:
            self._inbox.put_nowait(request)

    async def next_request(self) -> Request | None:
        """The next one; None if there are no more. Waits while too many answers lie there unread."""
        request = await self._inbox.get()
        if request is None:
            self._inbox.put_nowait(None)  # for the others
            return None
        while self._outbox.qsize() >= UNREAD_PER_CALL * self._calls and not self.stopping.is_set():
            await asyncio.sleep(_ROOM_SECONDS)
        return request

    def put(self, answer: Answer) -> None:
        self._outbox.put(answer)
