"""What a chat server takes, and the request body that follows from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

from mlcore.records import LabelSet

TOP_LOGPROBS = 5  # the most that every server accepts
LIMITS = ("max_tokens", "max_completion_tokens", "")
SCHEMAS = ("json_schema", "json_object", "")
STREAMS = ("", "with usage", "plain")
# Parameters that turn thinking off, or down to the least effort, by the servers that know them.
THINKING_OFF: Mapping[str, Mapping[str, Any]] = {
    "chat_template_kwargs": {"chat_template_kwargs": {"enable_thinking": False}},  # vLLM, SGLang, llama.cpp
    "enable_thinking": {"enable_thinking": False},  # DashScope, ModelScope, SiliconFlow
    "thinking": {"thinking": {"type": "disabled"}},  # Zhipu, DeepSeek, Moonshot, Volcengine, Anthropic
    "reasoning_effort: none": {"reasoning_effort": "none"},  # OpenAI since GPT-5.1, Gemini, Ollama
    "reasoning_effort: minimal": {"reasoning_effort": "minimal"},  # GPT-5
    "reasoning_effort: low": {"reasoning_effort": "low"},  # o-series, gpt-oss
    "reasoning": {"reasoning": {"enabled": False}},  # OpenRouter
    "thinking_budget": {"thinking_budget": 0},  # DashScope, Gemini's gateways
}
THINKING_KEYS = frozenset(name for parameters in THINKING_OFF.values() for name in parameters)
_JSON_QUESTION = '\n\nAnswer with a JSON object {{"label": name}}; name is one of: {names}.'
_CONFIDENCE_QUESTION = (
    '\n\nAnswer with a JSON object {{"label": name, "confidence": percent}}; name is one of: {names}. The confidence, 0 to '
    "100, is how likely it is that the label is right; be honest where the text is unclear or several labels fit."
)
CONFIDENCE_TOKENS = 16  # that a stated confidence adds to an answer, a byte each


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a server is sent beside the model and the text.

    Attributes:
        limit_name: the name of the limit on the answer's tokens, one of ``LIMITS``; empty sends none.
        temperature: whether temperature 0 is sent.
        schema: the form in which the answer's schema is sent, one of ``SCHEMAS``.
        logprobs: whether log-probabilities are asked for.
        confidence: whether the answer is to state a confidence beside the label; for servers without log-probabilities.
        thinking: a key of ``THINKING_OFF``; empty sends nothing about thinking.
        parts: whether a message's content is a list of parts.
        stream: whether the answer comes as server-sent events, one of ``STREAMS``.
        room: tokens that the limit leaves for thoughts beside the answer.
    """

    limit_name: str = "max_tokens"
    temperature: bool = True
    schema: str = "json_schema"
    logprobs: bool = True
    confidence: bool = False
    thinking: str = ""
    parts: bool = False
    stream: str = ""
    room: int = 0

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Capabilities:
        """Capabilities as :meth:`as_dict` stored them; what this version doesn't know is left out."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in names})

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def parameters(self, labels: LabelSet) -> dict[str, Any]:
        """The body's parameters that are the same for every row."""
        body: dict[str, Any] = {"stream": bool(self.stream)}
        if self.stream == "with usage":
            body["stream_options"] = {"include_usage": True}
        if self.temperature:
            body["temperature"] = 0.0
        if self.limit_name:
            body[self.limit_name] = self.answer_tokens(labels) + self.room
        if self.logprobs:
            body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        if self.schema == "json_schema":
            body["response_format"] = {"type": "json_schema", "json_schema": _schema(labels, self.confidence)}
        elif self.schema == "json_object":
            body["response_format"] = {"type": "json_object"}
        body.update(THINKING_OFF.get(self.thinking, {}))
        return body

    def messages(self, text: str, labels: LabelSet) -> list[dict[str, Any]]:
        """The one message; servers demand that it speaks of JSON where any JSON object is the schema, and those that hold
        answers to a schema needn't show it to the model."""
        if self.confidence:
            text += _CONFIDENCE_QUESTION.format(names=", ".join(labels.names))
        elif self.schema == "json_object":
            text += _JSON_QUESTION.format(names=", ".join(labels.names))
        content = [{"type": "text", "text": text}] if self.parts else text
        return [{"role": "user", "content": content}]

    def answer_tokens(self, labels: LabelSet) -> int:
        """The most tokens that an answer may take beside thoughts."""
        return _label_tokens(labels) + (CONFIDENCE_TOKENS if self.confidence else 0)

    def schema_text(self, labels: LabelSet) -> str:
        """The schema as a server may put it into the prompt, and what is added to the question; empty without."""
        added = _CONFIDENCE_QUESTION if self.confidence else ""
        return _schema_text(labels, self.confidence) + added if self.schema else ""


@lru_cache(maxsize=8)
def _label_tokens(labels: LabelSet) -> int:
    """The longest name in JSON, a byte each, and some room."""
    return max(len(json.dumps(name)) for name in labels.names) + 16


@lru_cache(maxsize=8)
def _schema_text(labels: LabelSet, confidence: bool) -> str:
    return json.dumps(_schema(labels, confidence))


@lru_cache(maxsize=8)
def _schema(labels: LabelSet, confidence: bool) -> dict[str, Any]:
    properties: dict[str, Any] = {"label": {"type": "string", "enum": list(labels.names)}}
    if confidence:
        properties["confidence"] = {"type": "integer"}
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"name": "answer", "strict": True, "schema": schema}
