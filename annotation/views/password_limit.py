"""How many passwords one address, or one signed-in person, may try, and how many are checked at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from annotation.views.rate_limit import RateLimit

#: A person mistypes a few times; a loop over names or passwords does not stop at that.
TRIES_A_MINUTE = 20
#: A check of a password takes a core for a fifth of a second, so one at a time leaves the others to the pages.
CHECKS_AT_ONCE = 1
WAIT_SECONDS = 5.0


class PasswordLimit(RateLimit):
    """The lockout of a name after wrong passwords is django-axes' and comes on top."""

    def __init__(self) -> None:
        super().__init__(TRIES_A_MINUTE)
        self._checks = BoundedSemaphore(CHECKS_AT_ONCE)

    @contextmanager
    def attempt(self, who: str) -> Iterator[bool]:
        """Yields whether a password may be checked now; no other is checked meanwhile.

        Args:
            who: what is counted: an address, or an account.
        """
        allowed = not self.wait(who) and self._checks.acquire(timeout=WAIT_SECONDS)
        try:
            yield allowed
        finally:
            if allowed:
                self._checks.release()


PASSWORDS = PasswordLimit()
