"""A language model behind an address: the Hugging Face Inference API, or any server with the same chat protocol.

One thread runs an event loop with many calls under way; the caller sees a plain iterator of answers. The hub's client
forms the requests; where they may go, how long they take, how often they are tried and what counts as an answer is
decided here and in :mod:`mlcore.llm.endpoint.guard`, :mod:`mlcore.llm.endpoint.rate_limit` and :mod:`mlcore.llm.endpoint.replies`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlcore.config import LlmConfig
from mlcore.errors import BudgetSpentError, EngineError, ModelCallError, ModelUnavailableError, StoppedError
from mlcore.llm.budget import Budget, Usage, most_of
from mlcore.llm.endpoint import failures
from mlcore.llm.endpoint.call_queue import CallQueue
from mlcore.llm.endpoint.capabilities import Capabilities, ChatClient, answer_tokens, schema_text
from mlcore.llm.endpoint.guard import GuardedConnection, check_address, hub_destination
from mlcore.llm.endpoint.rate_limit import TRIES, TRIES_OF, RateLimiter, backoff
from mlcore.llm.endpoint.replies import Reply, label_distribution, read_reply, read_usage
from mlcore.messages import Message
from mlcore.prompting.prompts import read_answer
from mlcore.records import NO_LABEL, Answer, LabelSet, Prompt, Request

_SHARPER = "\n\nAnswer with exactly one of these names and nothing else: {names}."


class EndpointModel:
    """Capabilities a chat server, many rows at a time.

    Args:
        config: ``kind`` ``hub`` (``model``, ``provider``) or ``endpoint`` (``base_url``, ``model``), the number of
            calls at once and the deadline of each.
        token: the user's token; empty for none.
        allowed_hosts: see :func:`mlcore.llm.endpoint.guard.check_address`.
        budget: what may be spent; None for no limit.
        first_backoff: seconds before the first repetition of a failed call.

    Raises:
        ModelUnavailableError: the address is not allowed, or the hub is asked without a token.
    """

    def __init__(
        self,
        config: LlmConfig,
        *,
        token: str,
        allowed_hosts: Sequence[str],
        budget: Budget | None = None,
        first_backoff: float = 0.5,
    ) -> None:
        if config.kind == "hub":
            if not token:
                raise ModelUnavailableError("token_needed")
            self._destination = hub_destination()
            where = f"hub:{config.provider or 'auto'}"
        else:
            self._destination = check_address(config.base_url, allowed_hosts)
            where = f"endpoint:{config.base_url.strip().rstrip('/')}"
        self.identity = f"{where}:{config.model}"
        self.rate_limiter = RateLimiter(most=max(1, config.concurrency))
        self._config = config
        self._token = token
        self._budget = budget or Budget()
        self._first_backoff = first_backoff
        self._capabilities = Capabilities()
        self._answered: set[Capabilities] = set()  # with these the server has answered
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: ChatClient | None = None

    def ask(
        self, requests: Sequence[Request], labels: LabelSet, *, should_stop: Callable[[], bool]
    ) -> Iterator[Answer]:
        """See :class:`mlcore.llm.model.LanguageModel`."""
        if requests:
            yield from self.ask_stream(requests, labels, should_stop=should_stop)

    def ask_stream(
        self, items: Iterable[Request | Answer], labels: LabelSet, *, should_stop: Callable[[], bool]
    ) -> Iterator[Answer]:
        """See :class:`mlcore.llm.model.StreamingModel`."""
        loop = self._started_loop()
        call_queue = CallQueue(loop, calls=self.rate_limiter.most)
        running = asyncio.run_coroutine_threadsafe(self._ask_all(call_queue, labels), loop)
        running.add_done_callback(lambda _future: call_queue.end())
        try:
            yield from call_queue.answers(items, should_stop)
            if running.done() and not running.cancelled() and (error := running.exception()):
                raise error
        finally:
            running.cancel()

    def close(self) -> None:
        """Close connections and end the thread."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        if self._client is not None:
            asyncio.run_coroutine_threadsafe(self._client.close(), loop).result(timeout=5)
            self._client = None
        loop.call_soon_threadsafe(loop.stop)

    def _started_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = asyncio.new_event_loop()
            threading.Thread(target=_run_loop, args=(loop,), name="llm-calls", daemon=True).start()
            self._loop = loop
        return self._loop

    def _hub_client(self) -> ChatClient:
        if self._client is None:
            connection = GuardedConnection(
                self._destination, connections=self.rate_limiter.most, send_token=bool(self._token)
            )
            address = self._config.base_url.strip() if self._config.kind == "endpoint" else None
            self._client = ChatClient(
                base_url=address,
                model=None if address else self._config.model,
                provider=None if address else (self._config.provider or "auto"),
                api_key=self._token or "none",  # without one, the client would send the machine's own
                connection=connection,
            )
        return self._client

    async def _ask_all(self, call_queue: CallQueue, labels: LabelSet) -> None:
        async def work() -> None:
            while request := await call_queue.next_request():
                try:
                    call_queue.put(await self._answer(request, labels, call_queue.stopping))
                except StoppedError:
                    return

        await _all_or_first_error([work() for _ in range(self.rate_limiter.most)], call_queue.stopping)

    async def _answer(self, request: Request, labels: LabelSet, stopping: threading.Event) -> Answer:
        cost, raw = _Cost(), ""
        try:
            reply = await self._reply(request.prompt, labels, stopping, cost)
            label, raw = read_answer(reply.text, labels), reply.text
            if label == NO_LABEL:
                sharper = _SHARPER.format(names=", ".join(labels.names))
                prompt = Prompt(request.prompt.prefix, request.prompt.query + sharper)
                reply = await self._reply(prompt, labels, stopping, cost)
                label, raw = read_answer(reply.text, labels), reply.text
        except (ModelCallError, BudgetSpentError) as error:
            spent = cost.usage.tokens_in + cost.usage.tokens_out
            if self.rate_limiter.is_broken or (isinstance(error, BudgetSpentError) and not spent):
                raise
            return _answer(request, NO_LABEL, None, raw, cost, error=error.message)
        probs = label_distribution(reply, labels) if label != NO_LABEL else None
        return _answer(request, label, probs, raw, cost)

    async def _reply(self, prompt: Prompt, labels: LabelSet, stopping: threading.Event, cost: _Cost) -> Reply:
        """One readable reply; repeats what may pass. What the calls took is added to the cost.

        Raises:
            ModelCallError: this row can't be answered.
            ModelUnavailableError: no row can.
            BudgetSpentError: nothing is left for a call.
            StoppedError: the caller stopped.
        """
        met = Counter[str]()
        left_out: Capabilities | None = None  # what was asked for until this row was refused
        while True:
            async with self.rate_limiter.turn():
                capabilities, sent = self._capabilities, time.monotonic()
                try:
                    reply = await self._call(prompt, labels, capabilities, stopping, cost)
                except EngineError:
                    raise
                except Exception as error:
                    failure = failures.judge(error, deadline=self._config.deadline_seconds)
                else:
                    if reply:
                        self.rate_limiter.answered()
                        self._answered.add(capabilities)
                        return reply
                    failure = failures.EMPTY
                self.rate_limiter.count(failure.kind)
                if failure.kind == "refused":
                    if self._capabilities != capabilities:
                        continue
                    if self._ask_for_less(failure, capabilities):
                        left_out = capabilities
                        continue
                    if left_out:  # without it the row is refused too, so it was not that
                        self._capabilities = left_out
                met[failure.kind] += 1
                try:
                    self._give_up_if_hopeless(failure, met[failure.kind], sent=sent)
                except EngineError as error:
                    if isinstance(error, ModelUnavailableError) or self.rate_limiter.is_broken:
                        stopping.set()  # before the turn ends, so that nobody calls in between
                    raise
            if failure.kind != "limited":  # then the rate limiter makes all calls wait
                wait = backoff(met[failure.kind] - 1, first=self._first_backoff)
                await asyncio.sleep(wait if failure.wait is None else failure.wait)

    def _give_up_if_hopeless(self, failure: failures.Failure, times: int, *, sent: float) -> None:
        if failure.kind == "fatal" or (failure.kind == "refused" and not self.rate_limiter.answers):
            raise ModelUnavailableError(failure.message)
        if failure.kind in ("row", "refused"):
            raise ModelCallError(failure.message)  # others were answered, so it is this row that is refused
        if failure.kind == "limited":
            self.rate_limiter.limited(failure.wait, sent=sent, first_backoff=self._first_backoff)
        else:
            self.rate_limiter.failed()
        if self.rate_limiter.is_broken:
            raise ModelCallError(
                "many_failures", count=self.rate_limiter.failures_in_a_row, reason=failure.message
            )
        if times >= TRIES_OF.get(failure.kind, TRIES):
            raise ModelCallError(failure.message)

    async def _call(
        self,
        prompt: Prompt,
        labels: LabelSet,
        capabilities: Capabilities,
        stopping: threading.Event,
        cost: _Cost,
    ) -> Reply | None:
        """One call. None if it was answered without any text."""
        text = prompt.text
        beyond = schema_text(labels) if capabilities.schema else ""
        most = most_of(text, beyond=beyond, tokens_out=answer_tokens(labels))
        async with self._budget.hold(most) as paid:
            if stopping.is_set():
                raise StoppedError
            began = time.monotonic()
            try:
                async with asyncio.timeout(self._config.deadline_seconds):
                    completion = await self._hub_client().complete(
                        text, model=self._config.model or None, labels=labels, capabilities=capabilities
                    )
                paid.add(self._charged(completion, most))
            except BaseException as error:  # a call that is given up too
                # Without our seeing it, it may have been answered, and billed.
                if self._budget.is_limited and not failures.is_free(error):
                    paid.add(self._assumed(most))
                raise
            finally:
                cost.usage.add(paid)
                cost.seconds += time.monotonic() - began
        return read_reply(completion)

    def _charged(self, completion: Any, most: Usage) -> Usage:
        """What the server says that it counted; if it says nothing, what it may have counted."""
        told = Usage(*read_usage(completion))
        return self._assumed(most) if self._budget.is_limited and not told.tokens_in else told

    def _assumed(self, most: Usage) -> Usage:
        self._budget.assumed += 1
        return most

    def _ask_for_less(self, failure: failures.Failure, capabilities: Capabilities) -> bool:
        """Leave out what the server may not know; True if there was something to leave out."""
        if capabilities in self._answered and failure.names == ():
            return False
        lesser = capabilities.without(failure.names)
        if lesser == capabilities:
            return False
        self._capabilities = lesser
        return True


@dataclass(slots=True)
class _Cost:
    """What a row's calls took, failed ones and repetitions too; the time that it waited for its turn is not in it."""

    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0


def _answer(
    request: Request, label: int, probs: Any, raw: str, cost: _Cost, *, error: Message | None = None
) -> Answer:
    usage = cost.usage
    return Answer(request.key, label, probs, raw, error, usage.tokens_in, usage.tokens_out, cost.seconds)


async def _all_or_first_error(work: Sequence[Coroutine[Any, Any, None]], stopping: threading.Event) -> None:
    tasks = [asyncio.create_task(each) for each in work]
    try:
        for done in asyncio.as_completed(tasks):
            await done
    finally:
        stopping.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.close()
