"""What a chat server is asked for beyond the text, and the hub's client on top of our own transport."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from huggingface_hub import AsyncInferenceClient
from huggingface_hub.inference._common import RequestParameters

from mlcore.llm.endpoint.guard import GuardedConnection, HttpResponse
from mlcore.records import LabelSet

TOP_LOGPROBS = 5  # the most that every server accepts


@dataclass(frozen=True, slots=True)
class Capabilities:
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

    def without(self, names: Sequence[str]) -> Capabilities:
        if not names:
            return Capabilities(schema=False, logprobs=False)
        return replace(
            self,
            schema=self.schema and "schema" not in names,
            logprobs=self.logprobs and "logprobs" not in names,
        )


class ServerRefusedError(Exception):
    """The server answered with an error's status."""

    def __init__(self, response: HttpResponse) -> None:
        super().__init__(f"status {response.status}")
        self.response = response


class ChatClient(AsyncInferenceClient):
    """Forms requests as the hub's client does, and sends them itself.

    The hub's client knows each provider's address, headers and dialect. What it prepares differs between rows in the
    message alone, so it is prepared once; preparing every call anew and turning every answer into objects takes it as
    long as sending it.
    """

    def __init__(self, *, connection: GuardedConnection, **settings: Any) -> None:
        super().__init__(**settings)
        self._connection = connection
        self._prepared: dict[tuple[Capabilities, LabelSet], RequestParameters] = {}

    async def complete(
        self, text: str, *, model: str | None, labels: LabelSet, capabilities: Capabilities
    ) -> Any:
        """Ask, and return the completion as it was parsed from JSON.

        Raises:
            ServerRefusedError: the server answered with an error's status.
            ValueError: the answer is not JSON.
            HfHubHTTPError: the hub doesn't know the model, or not this token.
        """
        prepared = self._prepared.get((capabilities, labels))
        if prepared is None:
            prepared = self._prepared[capabilities, labels] = await self._prepare(model, labels, capabilities)
        assert isinstance(prepared.json, dict)  # every provider's chat is JSON
        body = {**prepared.json, "messages": [{"role": "user", "content": text}]}
        response = await self._connection.post(
            prepared.url, headers=prepared.headers, body=json.dumps(body).encode()
        )
        if response.status >= 400:
            raise ServerRefusedError(response)
        return json.loads(response.body)

    async def close(self) -> None:
        await self._connection.close()

    async def _prepare(
        self, model: str | None, labels: LabelSet, capabilities: Capabilities
    ) -> RequestParameters:
        try:
            await self.chat_completion(
                [{"role": "user", "content": "?"}],
                model=model,
                temperature=0.0,
                max_tokens=answer_tokens(labels),
                **capabilities.parameters(labels),
            )
        except _Prepared as prepared:
            return prepared.request
        raise AssertionError("the hub's client did not come to send its request")

    async def _inner_post(self, request_parameters: RequestParameters, *, stream: bool = False) -> Any:
        # For an address, the hub's client rewrites a JSON schema into an old form that only TGI knows; vLLM,
        # llama.cpp and Ollama would take it for "any JSON". So the standard form is put back.
        body = request_parameters.json
        form = body.get("response_format") if isinstance(body, dict) else None
        if isinstance(body, dict) and isinstance(form, dict) and "value" in form:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": form["value"]},
            }
        raise _Prepared(request_parameters)


class _Prepared(Exception):
    def __init__(self, request: RequestParameters) -> None:
        super().__init__()
        self.request = request


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
