"""Calls under a budget and a deadline, and what each row's calls took."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from mlcore.errors import StoppedError
from mlcore.llm.budget import Budget, Usage, most_of
from mlcore.llm.endpoint import failures
from mlcore.llm.endpoint.capabilities import Capabilities
from mlcore.llm.endpoint.chat import ChatClient
from mlcore.llm.endpoint.replies import Reply, read_reply, read_usage
from mlcore.messages import Message
from mlcore.records import Answer, LabelSet, Request

UNLIMITED_TOKENS = 16_384  # what an answer may take where a server takes no limit; for the budget


@dataclass(slots=True)
class RowCalls:
    """One row's calls: what is asked, and what they took. The time that the row waited for its turn is not in it."""

    labels: LabelSet
    stopping: threading.Event
    usage: Usage = field(default_factory=Usage)
    last_usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0

    def add(self, paid: Usage, *, seconds: float) -> None:
        self.last_usage = paid
        self.usage.add(paid)
        self.seconds += seconds

    def answer(
        self,
        request: Request,
        label: int,
        probs: Any,
        raw: str,
        *,
        stated: float | None = None,
        error: Message | None = None,
    ) -> Answer:
        usage = self.usage
        return Answer(
            request.key,
            label,
            probs,
            raw,
            error,
            usage.tokens_in,
            usage.tokens_out,
            self.seconds,
            stated=stated,
        )


def most_of_call(text: str, labels: LabelSet, capabilities: Capabilities) -> Usage:
    """The most that one call can be charged for."""
    beyond = capabilities.schema_text(labels)
    tokens_out = capabilities.answer_tokens(labels) + capabilities.room
    return most_of(
        text, beyond=beyond, tokens_out=tokens_out if capabilities.limit_name else UNLIMITED_TOKENS
    )


class PaidCalls:
    """Sends calls to a server, each within the deadline and the budget."""

    def __init__(self, client: ChatClient, budget: Budget, *, deadline: float) -> None:
        self._client = client
        self._budget = budget
        self.deadline = deadline

    async def call(self, text: str, capabilities: Capabilities, asking: RowCalls) -> Reply | None:
        """One call. None if it was answered without any text."""
        most = most_of_call(text, asking.labels, capabilities)
        async with self._budget.hold(most) as paid:
            if asking.stopping.is_set():
                raise StoppedError
            began = time.monotonic()
            try:
                async with asyncio.timeout(self.deadline):
                    completion = await self._client.complete(
                        text, labels=asking.labels, capabilities=capabilities
                    )
                paid.add(self._charged(completion, most))
            except BaseException as error:  # a call that is given up too
                # Without our seeing it, it may have been answered, and billed.
                if self._budget.is_limited and not failures.is_free(error):
                    paid.add(self._assumed(most))
                raise
            finally:
                asking.add(paid, seconds=time.monotonic() - began)
        return read_reply(completion)

    def _charged(self, completion: Any, most: Usage) -> Usage:
        """What the server says that it counted; if it says nothing, what it may have counted."""
        told = read_usage(completion)
        return self._assumed(most) if self._budget.is_limited and not told.tokens_in else told

    def _assumed(self, most: Usage) -> Usage:
        self._budget.assumed += 1
        return most
