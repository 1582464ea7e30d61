"""A worker's lease on a stage: renewed by a heartbeat, it fences writes and tells when to stop."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import DatabaseError, connection, transaction

from annotation.errors import LeaseLostError
from annotation.jobs.kinds import kind_of
from annotation.jobs.turns import TURN_SECONDS, gives_way
from annotation.models import Stage
from annotation.models.sql import from_now

if TYPE_CHECKING:
    from django.db.models.expressions import Combinable

    from annotation.models.round import StageQuerySet

logger = logging.getLogger(__name__)

STOP_POLL_SECONDS = 0.5
TURN_POLL_SECONDS = 5.0

#: Set when this process is to end: every stage at work here stops after its batch and goes back to the queue.
shutting_down = threading.Event()


def machine_name() -> str:
    """What this machine is called in the worker's name on a stage."""
    return socket.gethostname()[:80]


class Lease:
    """One attempt at a stage.

    Attributes:
        stage: the row as it was taken up, with what was reported since.
        attempt: the fencing token; writes count only while the row still carries it.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.attempt = stage.attempt
        self._began = time.monotonic()
        self._lost = threading.Event()
        self._stop_requested = False
        self._next_poll = 0.0
        self._next_turn = self._began + TURN_SECONDS

    def owned(self) -> StageQuerySet:
        """The stage's row, as long as this attempt owns it."""
        return Stage.objects.filter(pk=self.stage.pk, status=Stage.Status.RUNNING, attempt=self.attempt)

    def fence(self) -> None:
        """Lock the stage row until the transaction ends. Call it in the transaction that writes results.

        Raises:
            LeaseLostError: another attempt, or nobody, owns the stage now.
        """
        if not connection.in_atomic_block:
            raise RuntimeError("Lease.fence() guards nothing outside transaction.atomic(); call it inside.")
        if self.owned().select_for_update().values_list("pk").first() is None:
            self.lose()
            raise LeaseLostError(
                "This worker did not respond for too long; another worker has taken over the job."
            )

    @contextmanager
    def piece(self) -> Iterator[None]:
        """A fenced transaction: one piece of a long piece of work on rows that people correct meanwhile.

        Where only one connection can write (SQLite), a pause of the same length follows, so that the others come in.
        """
        began = time.monotonic()
        with transaction.atomic():
            self.fence()
            yield
        if not connection.features.has_select_for_update:
            time.sleep(time.monotonic() - began)

    def should_stop(self) -> bool:
        """Whether to stop after the current batch: a person asked for it, the lease is lost, the worker is going, or it is
        another owner's turn.

        Cheap enough for a tight loop: the row is read at most every 0.5 s.
        """
        if shutting_down.is_set() or self._lost.is_set():
            return True
        if time.monotonic() >= self._next_poll:
            self._next_poll = time.monotonic() + STOP_POLL_SECONDS
            self._poll()
        return self._stop_requested or self._lost.is_set()

    def lose(self) -> None:
        """Know that the lease is lost."""
        self._lost.set()

    def seconds(self) -> float:
        """Time at work in this attempt."""
        return time.monotonic() - self._began

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """Renew the lease from a thread of its own until the block ends."""
        over = threading.Event()
        thread = threading.Thread(
            target=self._beat, args=(over,), name=f"heartbeat-{self.stage.pk}", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _beat(self, over: threading.Event) -> None:
        try:
            while not over.wait(settings.LEASE_SECONDS / 3):
                try:
                    if not self.owned().update(lease_until=lease_end()):
                        self.lose()
                        return
                except DatabaseError as error:
                    logger.warning("The lease could not be renewed, trying again: %s", error)
                    connection.close()
        finally:
            connection.close()  # this thread's own

    def _poll(self) -> None:
        action = self.owned().values_list("requested_action", flat=True).first()
        if action is None:
            self.lose()
        else:
            # Also where it is taken back meanwhile: what is at work has ended early by then, and goes on from the queue.
            self._stop_requested = self._stop_requested or bool(action)
        if kind_of(self.stage).takes_turns and time.monotonic() >= self._next_turn:
            self._next_turn = time.monotonic() + TURN_POLL_SECONDS
            self._stop_requested = self._stop_requested or gives_way(self.stage)


def lease_end() -> Combinable:
    """When a lease that is taken or renewed now runs out, by the database's clock."""
    return from_now(seconds=settings.LEASE_SECONDS)
