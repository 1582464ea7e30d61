"""Read what a chat server sent: its text, its log-probabilities as a distribution over labels, its token counts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcore.prompting.prompts import end_of_thoughts
from mlcore.records import FloatArray, LabelSet

_VALUE_START = re.compile(r'"label"\s*:\s*"')
_FENCE_START = re.compile(r"\s*```\w*\n")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # a database takes no NUL and no half of a surrogate pair
MOST_TOKENS = 100_000_000  # no call takes more; a larger count is none
_OPENING = " \t\r\n\"'`*“‘「『【[(<（"


@dataclass(frozen=True, slots=True)
class Reply:
    """A chat completion: the text, and the generated tokens with their alternatives."""

    text: str
    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token: its text, and the candidates there with their log-probabilities."""

    text: str
    candidates: tuple[tuple[str, float], ...]


def read_reply(completion: Any) -> Reply | None:
    """Read a completion as the hub's client parsed it; None if it holds no text (``{}``, no choices, null)."""
    choices = _get(completion, "choices")
    if not isinstance(choices, Sequence) or not choices:
        return None
    text = _get(_get(choices[0], "message"), "content")
    if not isinstance(text, str) or not text.strip():
        return None
    content = _get(_get(choices[0], "logprobs"), "content")
    return Reply(
        text=_UNSTORABLE.sub("\ufffd", text), tokens=_tokens(content if isinstance(content, Sequence) else ())
    )


def read_usage(completion: Any) -> tuple[int, int]:
    """Tokens read and written, as the server counted them; 0 where it doesn't tell."""
    usage = _get(completion, "usage")
    return _count(_get(usage, "prompt_tokens")), _count(_get(usage, "completion_tokens"))


def label_distribution(reply: Reply, labels: LabelSet) -> FloatArray | None:
    """The distribution over label names ``(K,)`` that the log-probabilities give; None where there are none.

    At each token of the label, every candidate's probability goes to the names that it can still become. A
    candidate that several names share is followed if it is the one that was generated, and split evenly if not.
    What went to no name is spread evenly, so that no label gets exactly nothing.
    """
    start = _label_start("".join(token.text for token in reply.tokens))
    if not reply.tokens or not any(token.candidates for token in reply.tokens):
        return None
    names = [name.casefold() for name in labels.names]
    mass = [0.0] * len(names)  # few numbers: arrays would take longer
    path, said, place = 1.0, "", 0
    for token in reply.tokens:
        begin, place = place, place + len(token.text)
        if place <= start:
            continue
        skipped = max(0, start - begin)
        generated = (said + token.text[skipped:]).casefold()
        chosen = 0.0
        for text, logprob in token.candidates:
            probability = path * math.exp(min(logprob, 0.0))
            if text == token.text:
                chosen = math.exp(min(logprob, 0.0))
                fitting = _fitting(generated, names)
                if len(fitting) > 1:
                    continue  # the next token tells them apart
            else:
                candidate = text[skipped:] if text[:skipped] == token.text[:skipped] else text
                fitting = _fitting((said + candidate).casefold(), names)
            for index in fitting:
                mass[index] += probability / len(fitting)
        path *= chosen
        said = generated
        if len(_fitting(generated, names)) <= 1:
            break
    else:
        for index in _complete(said, names):
            mass[index] += path
    total = sum(mass)
    if total <= 0:
        return None
    rest = max(1.0 - total, 1e-6)
    result: FloatArray = (np.array(mass) + rest / len(names)) / (total + rest)
    return result


def _label_start(text: str) -> int:
    """Where the label begins in the generated text: behind ``"label": "``, or behind opening marks."""
    begin = end_of_thoughts(text)
    found = _VALUE_START.search(text, begin)
    if found:
        return found.end()
    fence = _FENCE_START.match(text, begin)
    begin = fence.end() if fence else begin
    return len(text) - len(text[begin:].lstrip(_OPENING))


def _fitting(said: str, names: Sequence[str]) -> list[int]:
    """The names that ``said`` can still become, or, if it goes on behind a name, the longest such name."""
    said = said.lstrip(_OPENING)
    if not said:
        return []
    open_names = [index for index, name in enumerate(names) if name.startswith(said)]
    if open_names:
        return open_names
    passed = [index for index, name in enumerate(names) if said.startswith(name)]
    return [max(passed, key=lambda index: len(names[index]))] if passed else []


def _complete(said: str, names: Sequence[str]) -> list[int]:
    said = said.strip()
    return [index for index, name in enumerate(names) if name == said]


def _tokens(content: Sequence[Any]) -> tuple[Token, ...]:
    tokens = []
    for item in content:
        text, logprob = _get(item, "token"), _get(item, "logprob")
        if not isinstance(text, str):
            return ()
        top = _get(item, "top_logprobs")
        pairs = (
            [(_get(each, "token"), _get(each, "logprob")) for each in top] if isinstance(top, list) else []
        )
        candidates = {
            name: number
            for name, value in [*pairs, (text, logprob)]
            if isinstance(name, str) and (number := _number(value)) is not None
        }
        tokens.append(Token(text, tuple(candidates.items())))
    return tuple(tokens)


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def _number(value: Any) -> float | None:
    """A number that can be calculated with; JSON may hold whole ones of any length."""
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return None if math.isnan(number) else number


def _count(value: Any) -> int:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_TOKENS
    return value if is_count else 0
