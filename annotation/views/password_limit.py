"""How many passwords one address, or one signed-in person, may try, and how many are checked at the same time."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock

#: A person mistypes a few times; a loop over names or passwords does not stop at that.
TRIES_A_MINUTE = 20
#: A check of a password takes a core for a fifth of a second, so one at a time leaves the others to the pages.
CHECKS_AT_ONCE = 1
WAIT_SECONDS = 5.0
#: So many addresses are remembered; the one that was silent for longest goes first.
ADDRESSES = 10_000


class PasswordLimit:
    """Counts tries in this process. The lockout of a name after wrong passwords is django-axes' and comes on top."""

    def __init__(self) -> None:
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = Lock()
        self._checks = BoundedSemaphore(CHECKS_AT_ONCE)

    @contextmanager
    def attempt(self, who: str) -> Iterator[bool]:
        """Yields whether a password may be checked now; no other is checked meanwhile.

        Args:
            who: what is counted: an address, or an account.
        """
        allowed = self._count(who) and self._checks.acquire(timeout=WAIT_SECONDS)
        try:
            yield allowed
        finally:
            if allowed:
                self._checks.release()

    def forgive(self, who: str) -> None:
        """Forget the tries before a right password: an office behind one address logs in at nine."""
        with self._lock:
            self._tries.pop(who, None)

    def _count(self, who: str) -> bool:
        now = time.monotonic()
        with self._lock:
            tries = self._tries.setdefault(who, deque(maxlen=TRIES_A_MINUTE))
            self._tries.move_to_end(who)
            if len(self._tries) > ADDRESSES:
                self._tries.popitem(last=False)
            if len(tries) == TRIES_A_MINUTE and now - tries[0] < 60:
                return False
            tries.append(now)
        return True


PASSWORDS = PasswordLimit()
