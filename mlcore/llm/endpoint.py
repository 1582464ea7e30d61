"""A language model behind an address: the Hugging Face Inference API, or any server with the same chat protocol.

One thread runs an event loop with many calls under way; the caller sees a plain iterator of answers. The hub's client
forms the requests; where they may go, how long they take, how often they are tried and what counts as an answer is
decided here and in :mod:`mlcore.llm.guard`, :mod:`mlcore.llm.pace` and :mod:`mlcore.llm.reading`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from huggingface_hub import AsyncInferenceClient

from mlcore.config import LlmConfig
from mlcore.errors import EngineError, ModelCallError, ModelUnavailableError, StoppedError
from mlcore.llm import failures
from mlcore.llm.guard import check_address, hub_destination, make_client
from mlcore.llm.pace import TRIES, TRIES_UNREADABLE, Pace, backoff
from mlcore.llm.reading import Reply, label_distribution, read_reply
from mlcore.prompts import read_answer
from mlcore.records import NO_LABEL, Answer, LabelSet, Prompt, Request

TOP_LOGPROBS = 5  # the most that every server accepts
FINISH_SECONDS = 3.0  # calls under way may end when the caller stops, since they are paid for
_POLL_SECONDS = 0.1
_SHARPER = "\n\nAnswer with exactly one of these names and nothing else: {names}."


class EndpointModel:
    """Asks a chat server, many rows at a time.

    Args:
        config: ``kind`` ``hub`` (``model``, ``provider``) or ``endpoint`` (``base_url``, ``model``), the number of
            calls at once and the deadline of each.
        token: the user's token; empty for none.
        allowed_hosts: see :func:`mlcore.llm.guard.check_address`.
        first_backoff: seconds before the first repetition of a failed call.

    Raises:
        ModelUnavailableError: the address is not allowed, or the hub is asked without a token.
    """

    def __init__(
        self, config: LlmConfig, *, token: str, allowed_hosts: Sequence[str], first_backoff: float = 0.5
    ) -> None:
        if config.kind == "hub":
            if not token:
                raise ModelUnavailableError("The Hugging Face Inference API needs a token. Give one.")
            self._destination = hub_destination()
            where = f"hub:{config.provider or 'auto'}"
        else:
            self._destination = check_address(config.base_url, allowed_hosts)
            where = f"endpoint:{config.base_url.strip().rstrip('/')}"
        self.identity = f"{where}:{config.model}"
        self.pace = Pace(most=max(1, config.concurrency))
        self._config = config
        self._token = token
        self._first_backoff = first_backoff
        self._asks = Asks()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: _Client | None = None

    def ask(
        self, requests: Sequence[Request], labels: LabelSet, *, should_stop: Callable[[], bool]
    ) -> Iterator[Answer]:
        """See :class:`mlcore.llm.model.LanguageModel`."""
        if not requests:
            return
        outbox: queue.SimpleQueue[Answer | EngineError | None] = queue.SimpleQueue()
        stopping = threading.Event()
        running = asyncio.run_coroutine_threadsafe(
            self._ask_all(list(requests), labels, outbox.put, stopping), self._started_loop()
        )
        running.add_done_callback(lambda _future: outbox.put(None))
        try:
            yield from _receive(outbox, stopping, should_stop)
            if not running.cancelled() and (error := running.exception()):
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

    def _hub_client(self) -> _Client:
        if self._client is None:
            http = make_client(self._destination, connections=self.pace.most, token=self._token)
            address = self._config.base_url.strip() if self._config.kind == "endpoint" else None
            self._client = _Client(
                base_url=address,
                model=None if address else self._config.model,
                provider=None if address else (self._config.provider or "auto"),
                api_key=self._token or "none",  # without one, the client would send the machine's own
                http=http,
            )
        return self._client

    async def _ask_all(
        self,
        requests: list[Request],
        labels: LabelSet,
        put: Callable[[Answer], None],
        stopping: threading.Event,
    ) -> None:
        waiting = iter(requests)

        async def work() -> None:
            for request in waiting:
                try:
                    put(await self._answer(request, labels, stopping))
                except StoppedError:
                    return

        workers = min(self.pace.most, len(requests))
        await _all_or_first_error([work() for _ in range(workers)], stopping)

    async def _answer(self, request: Request, labels: LabelSet, stopping: threading.Event) -> Answer:
        began = time.monotonic()
        try:
            reply = await self._reply(request.prompt, labels, stopping)
            label = read_answer(reply.text, labels)
            if label == NO_LABEL:
                sharper = _SHARPER.format(names=", ".join(labels.names))
                second = await self._reply(
                    Prompt(request.prompt.prefix, request.prompt.query + sharper), labels, stopping
                )
                label = read_answer(second.text, labels)
                reply = _both(reply, second)
        except ModelCallError as error:
            if self.pace.is_broken:
                raise
            seconds = time.monotonic() - began
            return Answer(request.key, NO_LABEL, None, raw="", error=str(error), seconds=seconds)
        return Answer(
            request.key,
            label,
            label_distribution(reply, labels) if label != NO_LABEL else None,
            raw=reply.text,
            tokens_in=reply.tokens_in,
            tokens_out=reply.tokens_out,
            seconds=time.monotonic() - began,
        )

    async def _reply(self, prompt: Prompt, labels: LabelSet, stopping: threading.Event) -> Reply:
        """One readable reply; repeats what may pass.

        Raises:
            ModelCallError: this row can't be answered.
            ModelUnavailableError: no row can.
            StoppedError: the caller stopped.
        """
        for tries in itertools.count(1):
            async with self.pace.turn():
                asks = self._asks
                try:
                    completion = await self._call(prompt, labels, asks, stopping)
                except EngineError:
                    raise
                except Exception as error:
                    failure = failures.judge(error, deadline=self._config.deadline_seconds)
                else:
                    if reply := read_reply(completion):
                        self.pace.answered()
                        return reply
                    failure = failures.EMPTY
                if failure.kind == "refused" and (self._asks != asks or self._ask_for_less(failure, asks)):
                    continue
                try:
                    self._give_up_if_hopeless(failure, tries)
                except ModelUnavailableError:
                    stopping.set()  # before the turn ends, so that nobody calls in between
                    raise
            wait = failure.wait if failure.wait is not None else backoff(tries - 1, first=self._first_backoff)
            if failure.kind == "limited":
                self.pace.limited(wait)
            await asyncio.sleep(wait)
        raise AssertionError("counting has no end")

    def _give_up_if_hopeless(self, failure: failures.Failure, tries: int) -> None:
        if failure.kind == "fatal" or (failure.kind == "refused" and not self.pace.answers):
            raise ModelUnavailableError(failure.message)
        if failure.kind in (
            "row",
            "refused",
        ):  # others were answered, so it is this row that the server refuses
            raise ModelCallError(failure.message)
        if failure.kind != "limited":
            self.pace.failed()
        if self.pace.is_broken:
            raise ModelCallError(
                f"{self.pace.failures_in_a_row} calls in a row failed, so the run was paused. "
                f"The last reason: {failure.message}"
            )
        if tries >= (TRIES_UNREADABLE if failure.kind == "unreadable" else TRIES):
            raise ModelCallError(failure.message)

    async def _call(self, prompt: Prompt, labels: LabelSet, asks: Asks, stopping: threading.Event) -> Any:
        longest = max(len(json.dumps(name)) for name in labels.names)
        if stopping.is_set():
            raise StoppedError("The run was stopped.")
        async with asyncio.timeout(self._config.deadline_seconds):
            return await self._hub_client().chat_completion(
                [{"role": "user", "content": prompt.text}],
                model=self._config.model or None,
                temperature=0.0,
                max_tokens=longest + 16,
                **asks.parameters(labels),
            )

    def _ask_for_less(self, failure: failures.Failure, asks: Asks) -> bool:
        """Leave out what the server may not know; True if there was something to leave out."""
        if self.pace.answers and failure.names == ():
            return False  # the server answered the same parameters before
        lesser = asks.without(failure.names)
        if lesser == asks:
            return False
        self._asks = lesser
        return True


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


class _Client(AsyncInferenceClient):
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


def _schema(labels: LabelSet) -> dict[str, Any]:
    properties = {"label": {"type": "string", "enum": list(labels.names)}}
    schema = {
        "type": "object",
        "properties": properties,
        "required": ["label"],
        "additionalProperties": False,
    }
    return {"name": "answer", "strict": True, "schema": schema}


def _both(first: Reply, second: Reply) -> Reply:
    return replace(
        second,
        tokens_in=first.tokens_in + second.tokens_in,
        tokens_out=first.tokens_out + second.tokens_out,
    )


def _receive(
    outbox: queue.SimpleQueue[Answer | EngineError | None],
    stopping: threading.Event,
    should_stop: Callable[[], bool],
) -> Iterator[Answer]:
    """Answers as they come, until the last one, or until the caller stopped and calls under way had time to end."""
    last_moment = float("inf")
    while time.monotonic() < last_moment:
        if not stopping.is_set() and should_stop():
            stopping.set()
            last_moment = time.monotonic() + FINISH_SECONDS
        try:
            answer = outbox.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            continue
        if not isinstance(answer, Answer):
            return
        yield answer


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
