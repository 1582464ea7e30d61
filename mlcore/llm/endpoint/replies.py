"""Read what a chat server sent: its text, its log-probabilities as a distribution over labels, its token counts."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcore.llm.budget import Usage
from mlcore.prompting.answers import end_of_thoughts
from mlcore.records import FloatArray, LabelSet

_VALUE_START = re.compile(r'"label"\s*:\s*"')
_FENCE_START = re.compile(r"\s*```\w*\n")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # a database takes no NUL and no half of a surrogate pair
THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")
MOST_TOKENS = 100_000_000  # no call takes more; a larger count is none
_OPENING = " \t\r\n\"'`*“‘「『【[(<（"


@dataclass(frozen=True, slots=True)
class Reply:
    """A chat completion.

    Attributes:
        text: the content as it came; thoughts that stand in it are passed over by :func:`read_answer`.
        tokens: the generated tokens with their alternatives; none where the server gives no log-probabilities.
        thoughts: where the model's thoughts came, a key of ``dialect.SWITCHES``; empty if it wrote none.
        is_cut: the limit on tokens ended the answer.
        refusal: why the model or the provider refuses this text; empty if it doesn't.
    """

    text: str
    tokens: tuple[Token, ...] = ()
    thoughts: str = ""
    is_cut: bool = False
    refusal: str = ""

    @property
    def is_thought(self) -> bool:
        """Whether the limit ended it before the model came from its thoughts to an answer."""
        return self.is_cut and (bool(self.thoughts) or not self.text.strip())


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token: its text, and the candidates there with their log-probabilities."""

    text: str
    candidates: tuple[tuple[str, float], ...]


def parse_completion(body: bytes) -> Any:
    """The completion in a response's body: JSON, or server-sent events whose pieces are put together.

    Raises:
        ValueError: it is neither.
    """
    if not body.lstrip().startswith((b"data:", b"event:", b": ")):
        return json.loads(body)
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": None}
    whole: dict[str, Any] = {}
    for line in body.decode().splitlines():
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or not data or data == "[DONE]":
            continue
        event = json.loads(data)
        if not isinstance(event, dict):
            raise ValueError("an event that is no object")
        whole |= {name: value for name, value in event.items() if name != "choices" and value is not None}
        for piece in event.get("choices") or []:
            _add_piece(choice, piece)
            whole["choices"] = [choice]
    return whole


def _add_piece(choice: dict[str, Any], piece: Any) -> None:
    message = choice["message"]
    delta = _get(piece, "delta") or _get(piece, "message")
    for name in ("content", *THOUGHT_FIELDS, "refusal"):
        value = _get(delta, name)
        text = _joined(value, "text") if isinstance(value, list) else value
        if isinstance(text, str):
            message[name] = (message.get(name) or "") + text
    choice["finish_reason"] = _get(piece, "finish_reason") or choice["finish_reason"]
    content = _get(_get(piece, "logprobs"), "content")
    if isinstance(content, list):
        choice.setdefault("logprobs", {"content": []})["content"].extend(content)


def read_reply(completion: Any) -> Reply | None:
    """Read a parsed completion; None if it is none (``{}``, no choices), or has neither text nor a reason for that."""
    choices = _get(completion, "choices")
    if not isinstance(choices, Sequence) or not choices:
        return None
    choice, message = choices[0], _get(choices[0], "message")
    content, finish = _get(message, "content"), _get(choice, "finish_reason")
    text, thoughts = _text_and_thoughts(completion, message, content)
    refusal = _get(message, "refusal")
    if finish == "content_filter" or (isinstance(refusal, str) and refusal.strip()):
        return Reply("", refusal=str(refusal or finish))
    is_cut = finish in ("length", "max_tokens", "MAX_TOKENS")
    if not text[end_of_thoughts(text) :].strip() and not is_cut:
        return None
    content = _get(_get(choice, "logprobs"), "content")
    tokens = _tokens(content if isinstance(content, Sequence) else ())
    return Reply(_UNSTORABLE.sub("\ufffd", text), tokens, thoughts, is_cut)


def _text_and_thoughts(completion: Any, message: Any, content: Any) -> tuple[str, str]:
    """The answer's text, and where the thoughts came: in a field of their own, in the text, or only in the count."""
    parts = content if isinstance(content, list) else []
    text = _joined(parts, "text") if parts else content if isinstance(content, str) else ""
    thoughts = next((name for name in THOUGHT_FIELDS if _get(message, name)), "")
    if any(_get(part, "type") in ("thinking", "reasoning") for part in parts):
        thoughts = "reasoning_content"
    if not thoughts and end_of_thoughts(text):
        thoughts = "inline"
    if not thoughts and _count(
        _get(_get(_get(completion, "usage"), "completion_tokens_details"), "reasoning_tokens")
    ):
        thoughts = "hidden"
    return text, thoughts


def _joined(parts: Sequence[Any], kind: str) -> str:
    """The text of a content's parts of one kind."""
    texts = (_get(part, "text") for part in parts if _get(part, "type") in (kind, None))
    return "".join(text for text in texts if isinstance(text, str))


def read_usage(completion: Any) -> Usage:
    """Tokens read and written, those of thoughts and of the provider's cache, as the server counted; 0 where it doesn't tell."""
    usage = _get(completion, "usage")
    thought = _count(_get(_get(usage, "completion_tokens_details"), "reasoning_tokens"))
    written = _count(_get(usage, "completion_tokens"))
    read = _count(_get(usage, "prompt_tokens"))
    return Usage(
        read,
        written,
        min(thought, written) or _share_of_thoughts(completion, written),
        cached=min(_cached(usage), read),
    )


def _cached(usage: Any) -> int:
    """Tokens read from the provider's cache: OpenAI's name, then DeepSeek's, then Moonshot's."""
    names = ("prompt_cache_hit_tokens", "cached_tokens")
    counts = (
        _get(_get(usage, "prompt_tokens_details"), "cached_tokens"),
        *(_get(usage, name) for name in names),
    )
    return next((count for each in counts if (count := _count(each))), 0)


def _share_of_thoughts(completion: Any, written: int) -> int:
    """Tokens of the thoughts where only their text is known, by their share of the characters."""
    choices = _get(completion, "choices")
    message = _get(choices[0], "message") if isinstance(choices, list) and choices else None
    content = _get(message, "content")
    content = content if isinstance(content, str) else ""
    begin = end_of_thoughts(content)
    thought = begin + sum(
        len(value) for name in THOUGHT_FIELDS if isinstance(value := _get(message, name), str)
    )
    return round(written * thought / (thought + len(content) - begin)) if thought else 0


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
