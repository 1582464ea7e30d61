"""What a chat server is asked for beyond the text, and the hub's client with our own HTTP client inside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from huggingface_hub import AsyncInferenceClient

from mlcore.records import LabelSet

TOP_LOGPROBS = 5  # the most that every server accepts


@dataclass(frozen=True, slots=True)
class Asks:
    """What is asked for beyond the text; found out once per server and remembered."""

    schema: bool = True
    logprobs: bool = True

    def parameters(self, labels: LabelSet) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.logprobs:
            found |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        if self.schema:
            found["response_format"] = {"type": "json_schema", "json_schema": _schema(labels)}
        return found

    def without(self, names: Sequence[str]) -> Asks:
        if not names:
            return Asks(schema=False, logprobs=False)
        return replace(
            self,
            schema=self.schema and "schema" not in names,
            logprobs=self.logprobs and "logprobs" not in names,
        )


class ChatClient(AsyncInferenceClient):
    """The hub's client with our HTTP client inside."""

    def __init__(self, *, http: Any, **settings: Any) -> None:
        super().__init__(**settings)
        self._http = http

    async def _get_async_client(self) -> Any:
        return self._http

    async def _inner_post(self, request_parameters: Any, *, stream: bool = False) -> Any:
        # For an address, the hub's client rewrites a JSON schema into an old form that only TGI knows; vLLM,
        # llama.cpp and Ollama would take it for "any JSON". So the standard form is put back.
        form = (request_parameters.json or {}).get("response_format")
        if isinstance(form, dict) and "value" in form:
            request_parameters.json["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": form["value"]},
            }
        return await super()._inner_post(request_parameters, stream=stream)

    async def close(self) -> None:
        await self._http.aclose()


@lru_cache(maxsize=8)
def answer_tokens(labels: LabelSet) -> int:
    """The most tokens that an answer may take: the longest name in JSON, a byte each, and some room."""
    return max(len(json.dumps(name)) for name in labels.names) + 16


@lru_cache(maxsize=8)
def schema_text(labels: LabelSet) -> str:
    return json.dumps(_schema(labels))


@lru_cache(maxsize=8)
def _schema(labels: LabelSet) -> dict[str, Any]:
    properties = {"label": {"type": "string", "enum": list(labels.names)}}
    schema = {
        "type": "object",
        "properties": properties,
        "required": ["label"],
        "additionalProperties": False,
    }
    return {"name": "answer", "strict": True, "schema": schema}
