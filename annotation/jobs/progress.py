"""Report how far a stage is: throttled writes to its row, and a hint to open pages."""

from __future__ import annotations

import time
from typing import Any, Generic, TypeVar

from django.db.models.functions import Now

from annotation.jobs.details import Detail
from annotation.jobs.kinds import detail_of
from annotation.jobs.lease import Lease
from annotation.jobs.notify import notify_pages

WRITE_SECONDS = 0.3
D = TypeVar("D", bound=Detail)


class Progress(Generic[D]):
    """The progress of one attempt at a stage, written while its lease holds. ``detail``: what was reported last."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self.detail: D = detail_of(lease.stage)
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
        detail: D | None = None,
        tokens_in: int | None = None,
        tokens_out: int | None = None,
        force: bool = False,
    ) -> None:
        """Set what changed. The row is written at most every 0.3 s, unless forced, and at the end."""
        self.detail = detail or self.detail
        stage = self._lease.stage
        changes = {
            "done": done,
            "total": total,
            "epoch": epoch,
            "epochs": epochs,
            "phase": phase,
            "tokens_in": tokens_in,
            "tokens_out": tokens_out,
            "detail": detail and detail.to_json(),
        }
        for name, value in changes.items():
            if value is not None:
                setattr(stage, name, value)
                self._unwritten.add(name)
        if force or time.monotonic() >= self._next_write:
            self._write()

    def unwritten(self) -> dict[str, Any]:
        """What was reported and is not in the row yet."""
        return {name: getattr(self._lease.stage, name) for name in self._unwritten}

    def _write(self) -> None:
        stage = self._lease.stage
        if not self._lease.owned().update(**self.unwritten(), updated_at=Now()):
            self._lease.lose()
        self._unwritten.clear()
        self._next_write = time.monotonic() + WRITE_SECONDS
        notify_pages(stage)
