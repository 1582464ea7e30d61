"""How hard a server is pressed: how many calls at once, how long to wait, and when to give up."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

BREAKER = 20
RECENT_ANSWERS = 200
TRIES = 6
TRIES_OF = {"unreadable": 2, "limited": BREAKER}  # kinds of failures that a row may meet more or less often
LONGEST_WAIT = 120.0


@dataclass(slots=True)
class RateLimiter:
    """The number of calls at once: one until the first answer, then up to ``most``; halved when the server says 429.

    Attributes:
        most: the highest number of calls at once.
        limit: the number now.
        failures_in_a_row: calls that failed since the last answer; of calls under way that are told 429 together, one.
        answers: calls that were answered.
        failures: failed calls by kind, see :mod:`mlcore.llm.endpoint.failures`.
    """

    most: int
    limit: int = 1
    failures_in_a_row: int = 0
    answers: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    _active: int = 0
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    _pause_until: float = 0.0
    _was_halved: bool = False
    _credit: int = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until one more call may be made, and count it while it lasts."""
        await asyncio.sleep(0)  # who was woken goes first, so that after a refusal another row is asked
        while (pause := self._pause_until - time.monotonic()) > 0 or self._active >= self.limit:
            if pause > 0:
                await asyncio.sleep(pause)
                continue
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1
            self._wake()

    def _wake(self) -> None:
        free = self.limit - self._active
        while free > 0 and self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1

    def answered(self, *, grows: bool = True) -> None:
        """Count an answer, and grow: at once to half of the most, then one for each answer; after a 429, one for each
        round of answers."""
        self.failures_in_a_row = 0
        self.answers += 1
        if self.limit >= self.most or not grows:
            return
        self._credit += 1
        if self._credit >= (self.limit if self._was_halved else 1):
            self._credit = 0
            self.limit = max(self.limit + 1, 0 if self._was_halved else self.most // 2)
            self._wake()

    def limited(self, wait: float | None, *, sent: float, first_backoff: float) -> None:
        """The server asked for fewer calls: halve their number, and pause all of them.

        A call that was sent before the last pause was over says nothing new. One that is refused after it doubles the next
        pause, so that it comes to outlast the minute or so by which the server counts calls.

        Args:
            wait: seconds that the server asked for, the least to wait; None if it gave no time.
            sent: when the call was sent, on the monotonic clock.
            first_backoff: seconds of the first pause where the server gave no time.
        """
        if sent >= self._pause_until:
            self.limit, self._was_halved = max(1, self.limit // 2), True
            self.failures_in_a_row += 1
            wait = max(wait or 0.0, backoff(self.failures_in_a_row - 1, first=first_backoff))
        self._pause_until = max(self._pause_until, time.monotonic() + (wait or 0.0))

    def restrict(self, most: int) -> None:
        """Set the highest number of calls anew: others ask the same server, or have stopped doing so."""
        self.most, self.limit = most, min(self.limit, most)

    def failed(self) -> None:
        self.failures_in_a_row += 1

    def count(self, kind: str) -> None:
        self.failures[kind] += 1

    @property
    def pause(self) -> float:
        """Seconds until the next call may go out; 0 if one may now."""
        return max(0.0, self._pause_until - time.monotonic())

    @property
    def is_broken(self) -> bool:
        return self.failures_in_a_row >= BREAKER


@dataclass(slots=True)
class UnreadableBreaker:
    """Tells when so few answers can be read that going on wastes money."""

    _readable: deque[bool] = field(default_factory=lambda: deque(maxlen=RECENT_ANSWERS))

    def count(self, *, is_readable: bool) -> None:
        self._readable.append(is_readable)

    @property
    def is_broken(self) -> bool:
        """None of the first 20 answers was read, or later fewer than a tenth of the last 200."""
        counted, readable = len(self._readable), sum(self._readable)
        return counted >= BREAKER and readable < (RECENT_ANSWERS / 10 if counted == RECENT_ANSWERS else 1)


def backoff(attempt: int, *, first: float) -> float:
    """Seconds before try ``attempt + 1``: doubling, with jitter, so that many callers don't come back together."""
    return float(min(LONGEST_WAIT, first * 2**attempt) * random.uniform(0.5, 1.0))  # noqa: S311 - no secret


def retry_after(value: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, in either of its forms; None if it can't be read."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WAIT) if seconds == seconds else None
