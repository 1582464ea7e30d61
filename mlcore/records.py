"""What travels through the engine: labels, rows, demonstrations, requests and answers.

Arrays follow one notation everywhere: ``N`` rows, ``K`` labels, ``D`` dimensions, ``B`` batch;
``probs (N, K)``, ``losses (N,)``, ``clean_prob (N,)``. A label is an index into a :class:`LabelSet`;
``-1`` means that there is none (the LLM's answer could not be read).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.messages import Message

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]

NO_LABEL = -1


@dataclass(frozen=True, slots=True)
class Label:
    """One class of a task."""

    name: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The classes of a task, in order; a label's index is its place here. ``names`` is asked for with every row."""

    labels: tuple[Label, ...]
    names: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(label.name for label in self.labels))

    @classmethod
    def of(cls, *names: str) -> LabelSet:
        return cls(tuple(Label(name) for name in names))

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the corpus. ``key`` is the caller's name for it; ``fields`` are the columns of a table row."""

    key: int
    text: str
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A labelled example for the prompt: the row as the model sees it, and its label's name."""

    key: int
    shown: str
    label: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt. ``prefix`` is the same for all rows that share demonstrations; ``query`` is the row's own part."""

    prefix: str
    query: str

    @property
    def text(self) -> str:
        return f"{self.prefix}\n\n{self.query}" if self.prefix else self.query


@dataclass(frozen=True, slots=True)
class TurnedPrompt:
    """A prompt turned round: the label first, then the row. ``leads`` has what stands before ``text``, label by label."""

    prefix: str
    leads: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a language model.

    ``other_prefixes`` may stand before the same query instead of the prompt's own. A model that scores the labels averages
    their log-probabilities over all of them, and adds how probable each label makes the row (``turned``); one that is paid
    by the call is asked the prompt only.
    """

    key: int
    prompt: Prompt
    other_prefixes: tuple[str, ...] = ()
    turned: TurnedPrompt | None = None

    @property
    def prefixes(self) -> tuple[str, ...]:
        return (self.prompt.prefix, *self.other_prefixes)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a language model said to one request.

    ``label`` is an index or ``NO_LABEL`` (unreadable or failed); ``probs`` is the distribution over the
    labels ``(K,)`` where the model gives one; ``stated`` is the confidence that it wrote beside its label, 0 to 1, where it was
    asked for one; ``raw`` is kept as it came; ``error`` says why the call failed; ``cached`` if
    nobody had to be asked: its tokens were paid for before.
    """

    key: int
    label: int
    probs: FloatArray | None
    raw: str
    error: Message | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    cached: bool = False
    stated: float | None = None


def class_shares(labels: IntArray, count: int) -> FloatArray:
    counts = np.bincount(labels, minlength=count)
    return np.asarray(counts / max(counts.sum(), 1))
