"""Which run this thread or task is at work on; every log record in that time carries it."""

from __future__ import annotations

from contextvars import ContextVar

#: The stage's run id while a worker is at work on it, otherwise empty.
run_id: ContextVar[str] = ContextVar("run_id", default="")
