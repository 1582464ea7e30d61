"""Reading a language model's answer: which label's name is it?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from mlcore.records import NO_LABEL, LabelSet

READ_CHARACTERS = 20_000  # of an answer; a label stands near one of its ends
WORD_CHARACTERS = 3  # shorter names stand in prose by accident, as "A" does
MOST_TIMES = 3  # a name in prose; more often, and the model only repeats itself
# Thoughts before the answer. Some templates leave out the opening mark; a block that was cut leaves no answer.
_THOUGHTS = re.compile(
    r"\s*+(?:<(think|thinking|reasoning|thought)>.*?(?:</\1>|\Z)|\[THINK\].*?(?:\[/THINK\]|\Z)|(?:(?!<think>).)*?</think>"
    r"|(?:<\|start\|>assistant)?<\|channel\|>analysis<\|message\|>.*?(?=<\|channel\|>final|\Z))",
    re.DOTALL,
)
_MARKS = re.compile(r"<\|channel\|>final(?=<\|message\|>)|<\|[^|<>]*\|>|</s>|<end_of_turn>|<eos>")
_WRAPPED = (
    re.compile(r"```\w*\s*(.*?)\s*```", re.DOTALL),
    re.compile(r"\\boxed\{(?:\\text\{)?([^{}]*)\}"),
    re.compile(r"<(?:answer|label|output|result|category|class)>\s*(.*?)\s*</", re.DOTALL | re.IGNORECASE),
)
_LEAD = re.compile(
    r"^\W*(?:(?:the|my|final|correct|predicted|best)\s+)*(?:answer|label|category|class(?:ification)?|sentiment|topic"
    r"|prediction|output|result|答案|标签|类别|分类|情感|主题|结论|结果)\W*?(?:\s+is\b|[:：=]|是|为)\s*",
    re.IGNORECASE,
)
_CONFIDENCE = re.compile(r"""["']confidence["']\s*:\s*["']?(\d{1,3}(?:\.\d+)?)\s*%?["']?\s*[,}]""")
# Prose that names a label in order to rule it out, or to say that it can't tell.
_NEGATION = re.compile(r"\b(?:not|no|cannot|neither|nor|unless|except|without)\b|n['’]t\b|[不非无没]")
_KEYS = (
    "label",
    "labels",
    "answer",
    "category",
    "class",
    "sentiment",
    "topic",
    "prediction",
    "output",
    "result",
)
_PAIRS = ("()", "[]", "<>", "{}", "（）", "【】", "「」", "『』", "《》")
_EDGES = " \t\r\n\"'`*_“”‘’.。．!！,，;；:："


def read_answer(raw: str, labels: LabelSet) -> int:
    """The label that an answer names, or ``NO_LABEL`` where it names none, or several.

    The whole answer is compared first, then values in JSON, in usual wrappings, and lines of their own; at last the one
    name counts that stands as a word in the answer while no other does.
    """
    text = _MARKS.sub(" ", raw[end_of_thoughts(raw) :][:READ_CHARACTERS]).strip()
    names = _names(labels.names)
    for values in (lambda: [text], lambda: _json_values(text), lambda: _wrapped(text), lambda: _lines(text)):
        found = {names.get(value, names.get(bare(value), NO_LABEL)) for value in values()} - {NO_LABEL}
        if found:
            return found.pop() if len(found) == 1 else NO_LABEL
    return _only_name(text, names)


def read_confidence(raw: str) -> float | None:
    """The confidence, 0 to 1, that a JSON answer states in percent beside its label; None where it states none."""
    found = _CONFIDENCE.search(raw, end_of_thoughts(raw))
    if not found:
        return None
    number = float(found[1])
    share = (
        number if number <= 1 and "." in found[1] else number / 100
    )  # some write 0.9 where percent was asked for
    return share if share <= 1 else None


def end_of_thoughts(raw: str) -> int:
    """Where an answer begins: behind the thoughts that some models write first, or at the end if those were cut."""
    found = _THOUGHTS.match(raw)
    return found.end() if found else 0


def bare(text: str) -> str:
    """A name without case, and without the marks that models put around it."""
    text = text.strip(_EDGES)
    while len(text) > 2 and text[0] + text[-1] in _PAIRS:
        text = text[1:-1].strip(_EDGES)
    return " ".join(text.casefold().split())


def confusable_names(names: Sequence[str]) -> list[str]:
    """The names that differ from another one only in case, spaces or the marks around them."""
    alike = [bare(name) for name in names]
    return [name for name, key in zip(names, alike, strict=True) if alike.count(key) > 1 or not key]


@lru_cache(maxsize=8)
def _names(names: tuple[str, ...]) -> Mapping[str, int]:
    """The index of each name as it is, and of each bare one that is no other's."""
    by_bare: dict[str, int] = {}
    for index, name in enumerate(names):
        by_bare[bare(name)] = NO_LABEL if bare(name) in by_bare else index
    by_bare.pop("", None)
    return by_bare | {name: index for index, name in enumerate(names)}


def _json_values(text: str) -> Iterator[str]:
    """What JSON objects and lists anywhere in the text give as a label."""
    decoder, start = json.JSONDecoder(), 0
    while opening := re.compile(r"[{\[]").search(text, start):
        start = opening.start()
        try:
            value, start = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            start += 1
            continue
        yield from _values(value)


def _values(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _values(item)
    elif isinstance(value, dict):
        known = [item for key, item in value.items() if key.casefold() in _KEYS]
        for item in known or (value.values() if len(value) == 1 else ()):
            yield from _values(item)


def _wrapped(text: str) -> Iterator[str]:
    for pattern in _WRAPPED:
        yield from (found[1] for found in pattern.finditer(text))


def _lines(text: str) -> Iterator[str]:
    """Each line, without a lead such as “Answer:”."""
    for line in text.splitlines():
        yield _LEAD.sub("", line)


def _only_name(text: str, names: Mapping[str, int]) -> int:
    """The one name that stands as a word in the text, unless something is negated there."""
    text, found = text.casefold(), set[int]()
    for name in sorted(
        {bare(name) for name in names}, key=len, reverse=True
    ):  # a longer name hides those in it
        if len(name) < WORD_CHARACTERS and name.isascii():
            continue
        word = rf"(?<![\w-]){re.escape(name)}(?![\w-])" if name.isascii() else re.escape(name)
        text, count = re.subn(word, "\n", text)
        if count:
            found.add(names[name] if count <= MOST_TIMES else NO_LABEL)
    return found.pop() if len(found) == 1 and not _NEGATION.search(text) else NO_LABEL
