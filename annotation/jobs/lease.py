"""A worker's hold on a stage: report progress, ask whether to stop, and fence writes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from annotation.errors import LeaseLostError
from annotation.jobs.notify import nudge
from annotation.models import Stage

if TYPE_CHECKING:
    from annotation.models.round import StageQuerySet

WRITE_SECONDS = 0.3
LOOK_SECONDS = 0.5

#: Set when this process is to end: every stage at work here stops after its batch and goes back to the queue.
shutting_down = threading.Event()


class Claim:
    """One attempt at a stage. Made by :func:`annotation.jobs.state.work_on`.

    Attributes:
        stage: the row as it was taken up, with what was reported since.
        attempt: the fencing number; writes count only while the row still carries it.
        on_done: called in the transaction that sets the stage to done, so that what follows it can't be lost.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.attempt = stage.attempt
        self.on_done: Callable[[], object] | None = None
        self._began = time.monotonic()
        self._lost = threading.Event()
        self._wished = False
        self._next_look = 0.0
        self._next_write = 0.0
        self._unwritten: set[str] = set()

    def report(
        self,
        *,
        done: int | None = None,
        total: int | None = None,
        epoch: int | None = None,
        epochs: int | None = None,
        phase: str | None = None,
        detail: Mapping[str, Any] | None = None,
        tokens_in: int | None = None,
        tokens_out: int | None = None,
        force: bool = False,
    ) -> None:
        """Tell how far the work is. The row is written at most every 0.3 s, unless forced, and at the end.

        Args:
            detail: merged into the stage's ``detail``.
        """
        told = {
            "done": done,
            "total": total,
            "epoch": epoch,
            "epochs": epochs,
            "phase": phase,
            "tokens_in": tokens_in,
            "tokens_out": tokens_out,
            "detail": None if detail is None else {**self.stage.detail, **detail},
        }
        for name, value in told.items():
            if value is not None:
                setattr(self.stage, name, value)
                self._unwritten.add(name)
        if force or time.monotonic() >= self._next_write:
            self._write()

    def fence(self) -> None:
        """Lock the stage row until the transaction ends. Call it in the transaction that writes results.

        Raises:
            LeaseLostError: another attempt, or nobody, owns the stage now.
        """
        if not connection.in_atomic_block:
            raise RuntimeError("Claim.fence() guards nothing outside transaction.atomic(); call it inside.")
        if self.owned().select_for_update().values_list("pk").first() is None:
            self.lose()
            raise LeaseLostError(
                _("This worker was silent for too long, and the stage was given to another one.")
            )

    @contextmanager
    def piece(self) -> Iterator[None]:
        """One piece of a long work on rows that people correct meanwhile: a transaction under the fence. Where only one can
        write at a time (SQLite), a pause of the same length follows, so that the others come in."""
        began = time.monotonic()
        with transaction.atomic():
            self.fence()
            yield
        if not connection.features.has_select_for_update:
            time.sleep(time.monotonic() - began)

    def should_stop(self) -> bool:
        """Whether to stop after the current batch: a person wished it, the lease is lost, or the worker is going.

        Cheap enough for a tight loop: the row is looked up at most every 0.5 s.
        """
        if shutting_down.is_set() or self._lost.is_set():
            return True
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_SECONDS
            self._look()
        return self._wished or self._lost.is_set()

    def owned(self) -> StageQuerySet:
        """The stage's row, as long as this attempt owns it."""
        return Stage.objects.filter(pk=self.stage.pk, status=Stage.Status.RUNNING, attempt=self.attempt)

    def lose(self) -> None:
        """Know that the lease is lost."""
        self._lost.set()

    def seconds(self) -> float:
        """Time at work in this attempt."""
        return time.monotonic() - self._began

    def unwritten(self) -> dict[str, Any]:
        """What was reported and is not in the row yet."""
        return {name: getattr(self.stage, name) for name in self._unwritten}

    def _look(self) -> None:
        wish = self.owned().values_list("wish", flat=True).first()
        if wish is None:
            self.lose()
        else:
            self._wished = bool(wish)

    def _write(self) -> None:
        self.stage.updated_at = timezone.now()
        if not self.owned().update(**self.unwritten(), updated_at=self.stage.updated_at):
            self.lose()
        self._unwritten.clear()
        self._next_write = time.monotonic() + WRITE_SECONDS
        nudge(self.stage)
