"""How often somebody may try something in a minute, counted in this process."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from threading import Lock

MINUTE = 60.0
#: So many are remembered; the one that was silent for longest goes first.
REMEMBERED = 10_000


class RateLimit:
    """Counts tries of the last minute by whoever makes them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = Lock()

    def wait(self, who: str) -> float:
        """Count a try; the seconds until another is allowed where this is one too many, else 0.

        Args:
            who: what is counted: an address, an account, or a token.
        """
        now = time.monotonic()
        with self._lock:
            tries = self._tries.setdefault(who, deque(maxlen=self._most))
            self._tries.move_to_end(who)
            if len(self._tries) > REMEMBERED:
                self._tries.popitem(last=False)
            if len(tries) == self._most and now - tries[0] < MINUTE:
                return MINUTE - (now - tries[0])
            tries.append(now)
        return 0.0

    def forgive(self, who: str) -> None:
        """Forget the tries: an office behind one address logs in at nine."""
        with self._lock:
            self._tries.pop(who, None)
