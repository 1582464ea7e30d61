"""What the writers of other tools' files take: a row with what CORAL knows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Under this key a record carries all columns, since most tools keep what they don't know.
CORAL = "coral"


@dataclass(frozen=True, slots=True)
class Opinion:
    """A model's label with how sure it is; ``model``: final, LLM or SLM."""

    model: str
    label: str
    confidence: float | None


@dataclass(frozen=True, slots=True)
class ToolRow:
    """One row.

    Attributes:
        text: what a person reads.
        cells: all columns by name, the uploaded ones and CORAL's.
        label: the final label; empty for none.
        person: who decided it; empty where no person did. ``at``: when.
        opinions: of the models, the final label first.
    """

    text: str
    cells: Mapping[str, Any]
    label: str
    person: str
    at: str
    opinions: tuple[Opinion, ...]


Record = dict[str, Any]


def add_beside(record: Record, values: Mapping[str, Any], tool: str) -> Record:
    """The record with further columns; a name that is taken gets the tool's name before it."""
    return record | {f"{tool} {name}" if name in record else name: value for name, value in values.items()}


def one_of(values: Any) -> Any:
    """The only item of a list; a list of several stays one, nothing is empty."""
    if not isinstance(values, list):
        return values
    return values[0] if len(values) == 1 else values or ""
