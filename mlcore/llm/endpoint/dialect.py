"""Finds out what a chat server takes, from its refusals and from what its answers hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from mlcore.llm.budget import Usage
from mlcore.llm.endpoint.capabilities import LIMITS, SCHEMAS, STREAMS, THINKING_OFF, Capabilities
from mlcore.llm.endpoint.replies import Reply
from mlcore.llm.endpoint.server_errors import ServerError
from mlcore.prompting.answers import read_confidence

ROOMS = (
    0,
    1_024,
    4_096,
    16_384,
)  # tokens for thoughts; scripted and documented models need some 300 to 10,000
LESS_THOUGHT = 0.6  # of the tokens of the first answer: a switch that saves less is not kept
MOST_REFUSED = 6  # trials that a server refuses; what is unknown then stays left out
_EFFORTS = tuple(key for key in THINKING_OFF if key.startswith("reasoning_effort"))
# By where the thoughts come: which ways to turn them off are tried, one an answer.
SWITCHES = {
    "reasoning_content": ("chat_template_kwargs", "enable_thinking", "thinking", "reasoning_effort: low"),
    "reasoning": ("reasoning_effort: none", "reasoning", "chat_template_kwargs", "reasoning_effort: low"),
    "thinking": ("thinking", "reasoning_effort: low"),
    "inline": ("chat_template_kwargs", "enable_thinking", "reasoning_effort: low"),
    "hidden": (*_EFFORTS, "thinking"),
}
# Restored one by one after a refusal that named nothing went away with all of them left out.
_OPTIONAL = (
    ("limit_name", "max_tokens"),
    ("limit_name", "max_completion_tokens"),
    ("schema", "json_schema"),
    ("schema", "json_object"),
    ("logprobs", True),
    ("temperature", True),
)
_LIMIT = re.compile(r"max_(completion_|output_|new_)?tokens|maxtokens")
_TOO_LOW = re.compile(
    r"limit was reached|higher|at least|minimum|greater|too (small|low)|increase|must be (>|more)"
)
_SCHEMA = re.compile(r"response_format|json_schema|guided|grammar|structured|schema")
_UNKNOWN = re.compile(r"unknown|unrecogni[sz]ed|unexpected|extra (inputs?|fields?)|not permitted")
_PARTS = re.compile(r"content.{0,60}\b(array|list|parts|sequence)\b|\b(array|list)\b.{0,60}content")
_NEEDED = re.compile(r"must|require|need|only|should|set |specif|missing|mandatory")


class Dialect:
    """What one server takes. Belongs to one event loop.

    Args:
        known: what an earlier run found out.
        keeps_thinking: the user's own parameters say how the model thinks, so nothing is tried.
    """

    def __init__(self, known: Capabilities | None = None, *, keeps_thinking: bool = False) -> None:
        self.capabilities = known or Capabilities()
        self.is_settled = known is not None
        self._keeps_thinking = keeps_thinking
        self._answered: list[Capabilities] = []  # the newest last
        self._refused: list[Capabilities] = []
        self._untried: list[tuple[str, str | bool]] = []
        self._switches: list[str] | None = None
        self._unstated: Capabilities | None = None  # what was sent before a confidence was asked for
        self._first_thoughts = 0  # tokens of the first answer with thoughts

    @property
    def proven(self) -> Capabilities:
        """What the server has answered last, for a row that may itself be why it was refused."""
        return self._answered[-1] if self._answered else self.capabilities

    def has_answered(self, sent: Capabilities) -> bool:
        return sent in self._answered

    def accepts(self, sent: Capabilities) -> None:
        """Note that the server answered a text that was no row."""
        self._answered.append(sent)

    def names_parameter(self, sent: Capabilities, error: ServerError) -> bool:
        return adapted(sent, error) != sent

    def refused(self, sent: Capabilities, error: ServerError) -> bool:
        """Note a refusal. True: ask again, with ``capabilities``; false: it stays, whatever is left out."""
        if sent in self._answered and adapted(sent, error) == sent:
            return False  # it is the row that is refused
        if sent not in self._refused:
            self._refused.append(sent)
        if sent != self.capabilities:
            return True
        for candidate in self._instead_of(sent, error):
            if candidate not in self._refused:
                self.capabilities, self.is_settled = candidate, False
                return True
        return False

    def _instead_of(self, sent: Capabilities, error: ServerError) -> Iterator[Capabilities]:
        changed = adapted(sent, error)
        if changed != sent:
            yield changed
        yield from reversed(self._answered)
        least = replace(sent, limit_name="", schema="", logprobs=False, temperature=False, thinking="")
        if least not in self._refused and least != sent:
            self._untried = [(name, value) for name, value in _OPTIONAL if getattr(sent, name)]
            yield least

    def answered(self, sent: Capabilities, reply: Reply, usage: Usage) -> None:
        """Note an answer, and what to try with the next call."""
        if sent not in self._answered:
            self._answered.append(sent)
        if self.is_settled or sent != self.capabilities:
            return
        following = self._next_trial(sent, reply, usage) if len(self._refused) < MOST_REFUSED else None
        self.capabilities, self.is_settled = following or sent, following is None

    def _next_trial(self, sent: Capabilities, reply: Reply, usage: Usage) -> Capabilities | None:
        while self._untried:
            name, value = self._untried.pop(0)
            candidate = replace(sent, **{name: value})  # type: ignore[arg-type]
            if not getattr(sent, name) and candidate not in self._refused:
                return candidate
        calmer = None if self._keeps_thinking else self._less_thinking(sent, reply, usage)
        return calmer or self._with_confidence(sent, reply)

    def _with_confidence(self, sent: Capabilities, reply: Reply) -> Capabilities | None:
        """With a stated confidence, where the answer is JSON and the server gives no log-probabilities; without, if none
        came."""
        if sent.confidence:
            return self._unstated if read_confidence(reply.text) is None else None
        has_logprobs = any(token.candidates for token in reply.tokens)
        is_json = "{" in reply.text  # a server may take the schema and not follow it
        if self._unstated or not sent.schema or has_logprobs or not is_json:
            return None
        self._unstated = sent
        return replace(sent, confidence=True, logprobs=False)

    def _less_thinking(self, sent: Capabilities, reply: Reply, usage: Usage) -> Capabilities | None:
        """The next way to turn thinking off; None once one works, or none is left."""
        if self._switches is None:
            if not reply.thoughts:
                return None
            self._switches, self._first_thoughts = list(SWITCHES[reply.thoughts]), usage.tokens_out
        elif sent.thinking and (
            not reply.thoughts or usage.tokens_out <= LESS_THOUGHT * self._first_thoughts
        ):
            self._switches = []
            return None
        while self._switches:
            candidate = replace(sent, thinking=self._switches.pop(0))
            if candidate not in self._refused:
                return candidate
        return replace(sent, thinking="") if sent.thinking else None

    def cut(self, sent: Capabilities) -> bool:
        """Note an answer that the limit ended before it began. True: ask again, with more room."""
        if sent != self.capabilities:
            return True
        larger = [room for room in ROOMS if room > sent.room]
        if not larger or not sent.limit_name:
            return False
        self.capabilities = replace(sent, room=larger[0])
        return True


def adapted(sent: Capabilities, error: ServerError) -> Capabilities:
    """What to send after an error that names parameters; the same where it names none that could be changed."""
    named = error.param.lower()
    words = (
        named
        if any(name in named for name in ("tokens", "temperature", "logprob", "response_format"))
        else error.words
    )
    changed = _without_named(sent, words, error.words)
    return _with_required(sent, error.words) if changed == sent else changed


def _without_named(sent: Capabilities, words: str, message: str) -> Capabilities:
    changed = sent
    if "temperature" in words:
        changed = replace(changed, temperature=False)
    if "logprob" in words:
        changed = replace(changed, logprobs=False)
    if sent.confidence and _SCHEMA.search(words):
        changed = replace(changed, confidence=False)  # the schema with the label alone was taken
    elif sent.schema and _SCHEMA.search(words):
        is_unknown = _UNKNOWN.search(message) and "json_schema" not in message
        form = "" if is_unknown else SCHEMAS[SCHEMAS.index(sent.schema) + 1]
        changed = replace(changed, schema=form)
    if sent.limit_name and _LIMIT.search(words):
        changed = _with_other_limit(changed, message)
    if sent.thinking and any(name in words for name in THINKING_OFF[sent.thinking]):
        changed = replace(changed, thinking=_other_effort(sent.thinking, message))
    return changed


def _with_other_limit(sent: Capabilities, message: str) -> Capabilities:
    larger = [room for room in ROOMS if room > sent.room]
    if _TOO_LOW.search(message) and larger:
        return replace(sent, room=larger[0])
    if "too large" in message or "at most" in message:
        return replace(sent, limit_name="")
    return replace(sent, limit_name=LIMITS[LIMITS.index(sent.limit_name) + 1])


def _other_effort(thinking: str, message: str) -> str:
    """The least effort that the server names, or the next one; nothing where another parameter was refused."""
    if thinking not in _EFFORTS:
        return ""
    later = _EFFORTS[_EFFORTS.index(thinking) + 1 :]
    listed = [key for key in later if re.search(rf"\b{key.rpartition(' ')[2]}\b", message)]
    return (listed or [*later, ""])[0]


def _with_required(sent: Capabilities, words: str) -> Capabilities:
    """With a parameter that the server demands."""
    if not sent.parts and _PARTS.search(words):
        return replace(sent, parts=True)
    if sent.parts and re.search(r"content.{0,60}\bstring\b", words):
        return replace(sent, parts=False)
    if sent.stream and re.search(r"stream_options|include_usage", words):
        return replace(sent, stream="plain")
    if not _NEEDED.search(words):
        return replace(sent, stream="") if sent.stream and "stream" in words else sent
    for key, parameters in sorted(THINKING_OFF.items(), key=lambda item: -len(item[0])):
        if not sent.thinking and any(name in words for name in parameters):
            return replace(
                sent,
                thinking=_other_effort(_EFFORTS[0], words)
                if key in _EFFORTS and "none" not in words
                else key,
            )
    if not sent.stream and "stream" in words:
        return replace(sent, stream=STREAMS[1])
    return sent
