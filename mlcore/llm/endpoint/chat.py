"""One chat call: the request's address, headers and body, and the completion that comes back."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from mlcore.config import LlmConfig
from mlcore.errors import MessageError, ModelUnavailableError
from mlcore.llm.endpoint.capabilities import Capabilities
from mlcore.llm.endpoint.failures import ServerRefusedError
from mlcore.llm.endpoint.guard import HUB_ADDRESS, GuardedConnection, HttpResponse, chat_url, check_address
from mlcore.llm.endpoint.replies import parse_completion
from mlcore.llm.endpoint.server_errors import error_in_completion
from mlcore.records import LabelSet

logger = logging.getLogger(__name__)

LIST_SECONDS = 10.0
MOST_NAMES = 500  # of a server's models, for a list that a person reads


class ChatClient:
    """Sends chat calls to one server.

    Args:
        config: ``kind`` ``hub`` (``model``, ``provider``) or ``endpoint`` (``base_url``, ``model``).
        token: the user's token; empty for none. Never the machine's own.
        headers: what else the server wants in the head.
        allowed_hosts: see :func:`mlcore.llm.endpoint.guard.check_address`.

    Raises:
        ModelUnavailableError: the address is not allowed, or the hub is asked without a token.
    """

    def __init__(
        self, config: LlmConfig, *, token: str, headers: Mapping[str, str], allowed_hosts: Sequence[str]
    ) -> None:
        if config.kind == "hub" and not token:
            raise ModelUnavailableError("token_needed")
        is_hub = config.kind == "hub"
        address = HUB_ADDRESS if is_hub else config.base_url
        self.url = chat_url(address)
        self.secrets = (token, *headers.values())
        self.extra_body: dict[str, Any] = json.loads(config.extra_body or "{}")
        model = f"{config.model}:{config.provider}" if is_hub and config.provider else config.model
        self._model = {"model": model} if model else {}
        self._headers = _headers(token, headers, with_key="api-version=" in self.url)
        self._connection = GuardedConnection(
            check_address(address, ["*"] if is_hub else allowed_hosts), connections=config.concurrency
        )

    async def complete(self, text: str, *, labels: LabelSet, capabilities: Capabilities) -> Any:
        """Ask, and return the completion as it was parsed from JSON.

        Raises:
            ServerRefusedError: the server answered with an error.
            ValueError: the answer is not JSON.
        """
        body = self.body(text, labels=labels, capabilities=capabilities)
        response = await self._connection.post(
            self.url, headers=self._headers, body=json.dumps(body).encode()
        )
        if response.status >= 400:
            raise ServerRefusedError(response)
        completion = parse_completion(response.body)
        if error := error_in_completion(completion):
            raise ServerRefusedError(response, error=error)
        return completion

    async def model_names(self) -> list[str]:
        """The names of the server's models, as it lists them; none where it has no such list."""
        path, mark, query = self.url.partition("?")
        url = path.removesuffix("/chat/completions") + "/models" + mark + query
        try:
            async with asyncio.timeout(LIST_SECONDS):
                response = await self._connection.request("GET", url, headers=self._headers)
            listed = json.loads(response.body) if response.status == 200 else None
        except (aiohttp.ClientError, MessageError, OSError, ValueError) as error:
            logger.info("%s lists no models: %s", path, error)
            return []
        if isinstance(listed, dict):
            listed = listed.get("data") or listed.get("models")
        names = [item.get("id") or item.get("name") for item in listed or [] if isinstance(item, dict)]
        return sorted({name for name in names if isinstance(name, str)})[:MOST_NAMES]

    def body(self, text: str, *, labels: LabelSet, capabilities: Capabilities) -> dict[str, Any]:
        """The body of a call."""
        messages = {"messages": capabilities.messages(text, labels)}
        return self._model | messages | capabilities.parameters(labels) | self.extra_body

    async def call_beside(
        self, method: str, path: str, *, body: bytes | None = None, kind: str = "application/json", most: int
    ) -> HttpResponse:
        """A call to another part of the server's API, such as ``/batches``.

        Raises:
            ServerRefusedError: the server answered with an error.
        """
        address, mark, query = self.url.partition("?")
        own, own_mark, own_query = path.partition("?")
        queries = "&".join(filter(None, (query, own_query)))
        url = address.removesuffix("/chat/completions") + own + (mark or own_mark) + queries
        headers = self._headers | {"Content-Type": kind}
        response = await self._connection.request(method, url, headers=headers, body=body, most=most)
        if response.status >= 400:
            raise ServerRefusedError(response)
        return response

    async def close(self) -> None:
        await self._connection.close()


def _headers(token: str, headers: Mapping[str, str], *, with_key: bool) -> dict[str, str]:
    """The head of a call. Azure, whose addresses name an API version, takes the token as a key."""
    sent = {"Content-Type": "application/json"}
    if token:
        sent |= {"Authorization": f"Bearer {token}"} | ({"api-key": token} if with_key else {})
    given = {name.lower() for name in headers}
    return {name: value for name, value in sent.items() if name.lower() not in given} | dict(headers)
