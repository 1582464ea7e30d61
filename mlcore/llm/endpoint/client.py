"""A language model behind an address: the Hugging Face Inference API, or any server with the same chat protocol.

One thread runs an event loop with many calls under way; the caller sees a plain iterator of answers.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from mlcore.config import LlmConfig
from mlcore.errors import BudgetSpentError, EngineError, ModelCallError, ModelUnavailableError
from mlcore.llm.budget import Budget
from mlcore.llm.endpoint import failures
from mlcore.llm.endpoint.call_queue import CallQueue
from mlcore.llm.endpoint.capabilities import THINKING_KEYS, Capabilities
from mlcore.llm.endpoint.chat import ChatClient
from mlcore.llm.endpoint.dialect import Dialect
from mlcore.llm.endpoint.paid_calls import PaidCalls, RowCalls
from mlcore.llm.endpoint.rate_limit import TRIES, TRIES_OF, RateLimiter, UnreadableBreaker, backoff
from mlcore.llm.endpoint.replies import Reply, label_distribution
from mlcore.prompting.answers import read_answer, read_confidence
from mlcore.records import NO_LABEL, Answer, LabelSet, Prompt, Request

logger = logging.getLogger(__name__)

SHOWN_ANSWER = 200
_SHARPER = "\n\nAnswer with exactly one of these names and nothing else: {names}."
_HARMLESS = "Which of these names is the word below? {names}\n\n{first}"


class EndpointModel:
    """Asks a chat server, many rows at a time.

    Args:
        config: the server, the model, the number of calls at once and the deadline of each.
        token: the user's token; empty for none.
        allowed_hosts: see :func:`mlcore.llm.endpoint.guard.check_address`.
        headers: what else the server wants in the head of a call.
        known: what an earlier run found out of the server.
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
        headers: Mapping[str, str] | None = None,
        known: Capabilities | None = None,
        budget: Budget | None = None,
        first_backoff: float = 0.5,
    ) -> None:
        self._client = ChatClient(config, token=token, headers=headers or {}, allowed_hosts=allowed_hosts)
        where = (
            f"hub:{config.provider or 'auto'}"
            if config.kind == "hub"
            else f"endpoint:{config.base_url.strip().rstrip('/')}"
        )
        self.identity = f"{where}:{config.model}"
        self.rate_limiter = RateLimiter(most=max(1, config.concurrency))
        keeps_thinking = any(name in self._client.extra_body for name in THINKING_KEYS)
        self._dialect = Dialect(known, keeps_thinking=keeps_thinking)
        self._unreadable = UnreadableBreaker()
        self._logged: set[str] = set()
        self._calls = PaidCalls(self._client, budget or Budget(), deadline=config.deadline_seconds)
        self._first_backoff = first_backoff
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def capabilities(self) -> Capabilities | None:
        """What the server was found to take; None before that is settled."""
        return self._dialect.capabilities if self._dialect.is_settled else None

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
        call_queue = CallQueue(self._started_loop(), calls=self.rate_limiter.most)
        answer = partial(self._answer, labels=labels, stopping=call_queue.stopping)
        yield from call_queue.answers(items, answer, should_stop)

    def model_names(self) -> list[str]:
        """The names of the server's models, as far as it lists them."""
        return asyncio.run_coroutine_threadsafe(self._client.model_names(), self._started_loop()).result()

    def close(self) -> None:
        """Close connections and end the thread."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._client.close(), loop).result(timeout=5)
        loop.call_soon_threadsafe(loop.stop)

    def _started_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = asyncio.new_event_loop()
            threading.Thread(target=_run_loop, args=(loop,), name="llm-calls", daemon=True).start()
            self._loop = loop
        return self._loop

    async def _answer(self, request: Request, *, labels: LabelSet, stopping: threading.Event) -> Answer:
        asking = RowCalls(labels, stopping)
        raw = ""
        try:
            reply, label = await self._reply(request.prompt, asking)
            raw = reply.text
            if label == NO_LABEL:
                sharper = _SHARPER.format(names=", ".join(labels.names))
                prompt = Prompt(request.prompt.prefix, request.prompt.query + sharper)
                reply, label = await self._reply(prompt, asking)
        except (ModelCallError, BudgetSpentError) as error:
            spent = asking.usage.tokens_in + asking.usage.tokens_out
            if self.rate_limiter.is_broken or (isinstance(error, BudgetSpentError) and not spent):
                raise
            return asking.answer(request, NO_LABEL, None, raw, error=error.message)
        if label == NO_LABEL:
            return asking.answer(request, label, None, reply.text)
        probs = label_distribution(reply, labels)
        stated = None if probs is not None else read_confidence(reply.text)
        return asking.answer(request, label, probs, reply.text, stated=stated)

    async def _reply(self, prompt: Prompt, asking: RowCalls) -> tuple[Reply, int]:
        """One reply and the label that it names; repeats what may pass. What the calls took is added to ``asking``.

        Raises:
            ModelCallError: this row can't be answered.
            ModelUnavailableError: no row can.
            BudgetSpentError: nothing is left for a call.
            StoppedError: the caller stopped.
        """
        met, is_suspect = Counter[str](), False  # whether the row itself may be why it was refused
        while True:
            async with self.rate_limiter.turn():
                capabilities = self._dialect.proven if is_suspect else self._dialect.capabilities
                sent = time.monotonic()
                try:
                    reply = await self._calls.call(prompt.text, capabilities, asking)
                except EngineError:
                    raise
                except Exception as error:
                    failure = self._judge(error, capabilities)
                else:
                    if reply is None:
                        failure = failures.EMPTY
                    elif (label := self._read(reply, capabilities, asking)) is None:
                        continue
                    else:
                        return reply, label
                self.rate_limiter.count(failure.kind)
                if failure.kind == "refused" and await self._asks_for_less(failure, capabilities, asking):
                    is_suspect = is_suspect or not self._dialect.names_parameter(capabilities, failure.error)
                    continue
                met[failure.kind] += 1
                try:
                    self._give_up_if_hopeless(
                        failure, met[failure.kind], sent=sent, capabilities=capabilities
                    )
                except EngineError as error:
                    if isinstance(error, ModelUnavailableError) or self.rate_limiter.is_broken:
                        asking.stopping.set()  # before the turn ends, so that nobody calls in between
                    raise
            if failure.kind != "limited":  # then the rate limiter makes all calls wait
                wait = backoff(met[failure.kind] - 1, first=self._first_backoff)
                await asyncio.sleep(wait if failure.wait is None else failure.wait)

    def _read(self, reply: Reply, capabilities: Capabilities, asking: RowCalls) -> int | None:
        """The label that a reply names or ``NO_LABEL``; None if it was cut and is to be asked for again.

        Raises:
            ModelCallError: the model refuses this row.
            ModelUnavailableError: hardly any answer can be read.
        """
        if reply.refusal:
            self.rate_limiter.answered(grows=self._dialect.is_settled)
            raise ModelCallError("model_refused")
        label = read_answer(reply.text, asking.labels)
        if label == NO_LABEL and reply.is_thought and self._dialect.cut(capabilities):
            return None
        self._dialect.answered(capabilities, reply, asking.last_usage)
        self._unreadable.count(is_readable=label != NO_LABEL)
        if self._unreadable.is_broken:
            asking.stopping.set()
            raise ModelUnavailableError("unreadable_answers", answer=reply.text.strip()[:SHOWN_ANSWER])
        self.rate_limiter.answered(grows=self._dialect.is_settled and label != NO_LABEL)
        return label

    def _judge(self, error: Exception, capabilities: Capabilities) -> failures.Failure:
        failure = failures.judge(
            error,
            deadline=self._calls.deadline,
            sent=capabilities,
            url=self._client.url,
            secrets=self._client.secrets,
        )
        if failure.kind in ("refused", "fatal") and str(failure.message) not in self._logged:
            self._logged.add(str(failure.message))
            logger.warning("A call to %s failed: %s", self._client.url.partition("?")[0], failure.message)
        return failure

    async def _asks_for_less(
        self, failure: failures.Failure, capabilities: Capabilities, asking: RowCalls
    ) -> bool:
        """Whether to ask again, without what the server may not take.

        Where nothing was ever answered and the server names no parameter, a harmless text tells whether it is the row that
        is refused.
        """
        if not self._dialect.refused(capabilities, failure.error):
            return False
        if self.rate_limiter.answers or self._dialect.names_parameter(capabilities, failure.error):
            return True
        text = _HARMLESS.format(names=", ".join(asking.labels.names), first=asking.labels.names[0])
        tried = self._dialect.capabilities
        try:
            await self._calls.call(text, tried, asking)
        except failures.ServerRefusedError:
            return False
        self._dialect.accepts(tried)
        return True

    def _give_up_if_hopeless(
        self, failure: failures.Failure, times: int, *, sent: float, capabilities: Capabilities
    ) -> None:
        is_form = failure.kind == "refused" and not (
            self._dialect.has_answered(capabilities)
            and failure.error
            and failure.error.status in (400, 422, 451)
        )
        if failure.kind == "fatal" or is_form:
            raise ModelUnavailableError(failure.message)
        if failure.kind in ("row", "refused"):
            raise ModelCallError(failure.message)  # others were answered, so it is this row that is refused
        if failure.kind == "limited":
            self.rate_limiter.limited(failure.wait, sent=sent, first_backoff=self._first_backoff)
        else:
            self.rate_limiter.failed()
        if self.rate_limiter.is_broken:
            count = self.rate_limiter.failures_in_a_row
            raise ModelCallError("many_failures", count=count, reason=failure.message)
        if times >= TRIES_OF.get(failure.kind, TRIES):
            raise ModelCallError(failure.message)


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.close()
