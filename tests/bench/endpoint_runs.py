"""Runs against a server on loopback: the whole LLM stage with its database, and bare loops that ask the same.

Each runs in a process of its own, so that neither memory nor caches of another run are in it.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.bench.harness import open_program
from tests.support.words import WORDS

SLOTS = 64
LABELS = ("negative", "positive")


def text_of(key: int) -> str:
    """A text of some 20 words; no two are alike."""
    return f"{key} " + " ".join(
        WORDS[(key * 7 + place * (key % 5 + 1)) % len(WORDS)] for place in range(12 + key % 16)
    )


# --- Ours ---------------------------------------------------------------------------------------------------------


def our_rate(folder: Path, url: str, rows: int) -> tuple[float, float]:
    """Label ``rows`` rows of a fresh project in a fresh database, as a worker does.

    Returns:
        Rows stored per second, from taking up the stage to its end; seconds until the first answer is in the database.
    """
    open_program(folder)
    from annotation.jobs.work import work_on
    from annotation.management.commands.worker import load_ahead
    from annotation.models import Prediction, Stage
    from annotation.pipeline.iterate import start_round
    from annotation.pipeline.label import run_labeling

    load_ahead({"llm"})

    project = make_project(url, rows)
    stage = start_round.start_round(project, started_from="llm", user=None).stages.get()
    first: list[float] = []
    began = time.perf_counter()
    watch = threading.Thread(target=_watch, args=(began, first), daemon=True)
    watch.start()
    with work_on(stage.pk) as job:
        assert job is not None
        run_labeling.run_labeling(job)
    seconds = time.perf_counter() - began
    stage.refresh_from_db()
    watch.join()
    stored = Prediction.objects.filter(iteration=stage.iteration, label__isnull=False).count()
    assert (stage.status, stored) == (Stage.Status.DONE, rows), (
        f"{stage.status}, {stored} rows: {stage.error}"
    )
    return rows / seconds, first[0]


def make_project(url: str, rows: int) -> Any:
    from django.contrib.auth.models import User

    from annotation.models import Sample
    from annotation.pipeline.project import configure
    from annotation.pipeline.project.configure import LabelDraft
    from mlcore.config import LlmConfig

    owner = User.objects.create_user("bench")
    project = configure.create_project(name="bench", task_type="sentiment", owner=owner)
    project.columns = project.content_columns = ["text"]
    project.chain_stages = False
    project.save()
    configure.set_labels(project, [LabelDraft(name) for name in LABELS])
    config = LlmConfig(kind="endpoint", model="fake", base_url=url, concurrency=SLOTS, demonstrations=0)
    configure.set_llm(project, config=config, token=None)
    Sample.objects.bulk_create(
        [
            Sample(
                project=project,
                position=key,
                text=text_of(key),
                fields=[text_of(key)],
                content_hash=str(key),
            )
            for key in range(rows)
        ],
        batch_size=1_000,
    )
    return project


def _watch(began: float, first: list[float]) -> None:
    from django.db import connection

    from annotation.models import Prediction

    while not Prediction.objects.exists():
        time.sleep(0.02)
    first.append(time.perf_counter() - began)
    connection.close()


# --- Bare loops ---------------------------------------------------------------------------------------------------


def bare_rate(url: str, rows: int) -> float:
    """The hub's client in the plainest loop: no pace, no repetition, no reading, no guard, no database.

    It asks at its quickest, with a connection of its own for each call at once: in one pool of 64, httpx2 looks through
    all of them twice for every call.
    """
    import httpx2
    from huggingface_hub import AsyncInferenceClient

    from mlcore.llm.endpoint.capabilities import Capabilities
    from mlcore.records import LabelSet

    labels, texts = LabelSet.of(*LABELS), _questions(rows)

    class BareClient(AsyncInferenceClient):
        http: Any

        async def _get_async_client(self) -> Any:
            return self.http

    class Lanes(httpx2.AsyncBaseTransport):
        def __init__(self) -> None:
            one = httpx2.Limits(max_connections=1, max_keepalive_connections=1)
            self._all = [httpx2.AsyncHTTPTransport(limits=one, trust_env=False) for _ in range(SLOTS)]
            self._free = list(self._all)

        async def handle_async_request(self, request: Any) -> Any:
            lane = self._free.pop()
            try:
                response = await lane.handle_async_request(request)
                await response.aread()
                return response
            finally:
                self._free.append(lane)

        async def aclose(self) -> None:
            for lane in self._all:
                await lane.aclose()

    async def loop() -> float:
        transport = Lanes()
        client = BareClient(base_url=url, api_key="none")
        client.http = httpx2.AsyncClient(transport=transport, trust_env=False, timeout=None)

        async def one(key: int) -> None:
            await client.chat_completion(
                [{"role": "user", "content": texts[key]}],
                model="fake",
                **Capabilities().parameters(labels),
            )

        try:
            return await _timed(one, rows)
        finally:
            await client.http.aclose()

    return asyncio.run(loop())


def aiohttp_rate(url: str, rows: int) -> float:
    """The same questions by another client, as the limit of what this machine's Python can do."""
    import aiohttp

    from mlcore.llm.endpoint.capabilities import Capabilities
    from mlcore.records import LabelSet

    labels, texts = LabelSet.of(*LABELS), _questions(rows)

    async def loop() -> float:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=SLOTS)) as session:

            async def one(key: int) -> None:
                message = {"role": "user", "content": texts[key]}
                body = {"model": "fake", "messages": [message], **Capabilities().parameters(labels)}
                async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                    await response.json()

            return await _timed(one, rows)

    return asyncio.run(loop())


def _questions(rows: int) -> list[str]:
    from mlcore.prompting.prompts import render_prompt
    from mlcore.prompting.tasks import task_named
    from mlcore.records import LabelSet

    template, labels = task_named("sentiment").default_prompt, LabelSet.of(*LABELS)
    return [
        render_prompt(template, labels=labels, demonstrations=[], shown=text_of(key)).text
        for key in range(rows)
    ]


async def _timed(one: Callable[[int], Any], rows: int) -> float:
    waiting = iter(range(rows))

    async def work() -> None:
        for key in waiting:
            await one(key)

    began = time.perf_counter()
    await asyncio.gather(*[work() for _ in range(SLOTS)])
    return rows / (time.perf_counter() - began)


# --- The server ---------------------------------------------------------------------------------------------------


@contextmanager
def loopback_server(*, latency: float) -> Iterator[str]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(latency, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join(5)


def _answer() -> bytes:
    top = [{"token": "positive", "logprob": -0.1}, {"token": "negative", "logprob": -2.4}]
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": "positive"},
        "logprobs": {"content": [{"token": "positive", "logprob": -0.1, "top_logprobs": top}]},
    }
    usage = {"prompt_tokens": 9, "completion_tokens": 1}
    body = json.dumps({"id": "1", "created": 1, "model": "m", "choices": [choice], "usage": usage}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def _serve(latency: float, ready: Connection) -> None:
    """A chat server with 64 slots; every answer takes ``latency`` seconds."""
    answer = _answer()

    async def main() -> None:
        slots = asyncio.Semaphore(SLOTS)

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                    await reader.readexactly(length)
                    async with slots:
                        await asyncio.sleep(latency)
                    writer.write(answer)
                    await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())
