"""A file as people have them, and what must come of it: bytes made by code, beside the outcome.

A case that names an ``error`` is refused as a whole with a sentence in which that is found. Any other gives these
columns, these rows, and these rejected lines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

HEADER = ("id", "text")


@dataclass(frozen=True)
class Case:
    """``rows`` None means that they are too many to write down; ``count`` then says how many there are."""

    name: str
    make: Callable[[], bytes]
    columns: tuple[str, ...] = HEADER
    rows: list[list[str]] | None = None
    count: int | None = None
    rejected: dict[int, str] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    reading: dict[str, object] = field(default_factory=dict)
    error: str = ""

    def __str__(self) -> str:
        return self.name


def good(name: str, data: bytes | Callable[[], bytes], *rows: list[str], **more: object) -> Case:
    return Case(name, data if callable(data) else lambda: data, rows=list(rows), **more)  # type: ignore[arg-type]


def refused(name: str, data: bytes | Callable[[], bytes], error: str) -> Case:
    return Case(name, data if callable(data) else lambda: data, error=error)
