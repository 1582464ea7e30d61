"""How busy an endpoint is kept, and what the shared prefix saves with weights on this machine.

The endpoint is a server on loopback in a process of its own, with 64 slots and a fixed latency.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from mlcore.config import EMBEDDED_LLM, LlmConfig
from mlcore.llm.asks import ChatClient
from mlcore.llm.endpoint import EndpointModel
from mlcore.llm.guard import check_address, make_client
from mlcore.llm.local import LocalModel
from mlcore.prompts import render_prompt
from mlcore.records import Demonstration, LabelSet, Prompt, Request
from mlcore.tasks import task_named
from mlcore.weights import resolve_weights
from tests.bench.harness import Options, Report, run_bench

SLOTS = 64
LABELS = LabelSet.of("negative", "positive")
WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heath",
    "islet",
    "jetty",
    "knoll",
    "larch",
]


def measure(options: Options, report: Report) -> None:
    if "endpoint" in options.extra.parts:
        measure_endpoint(report, rows=300 if options.quick else options.extra.rows)
    if "local" in options.extra.parts:
        with tempfile.TemporaryDirectory() as scratch:
            measure_local(
                report, rows=16 if options.quick else 96, cache=options.extra.cache or Path(scratch)
            )


# --- Endpoint -----------------------------------------------------------------------------------------------------


def measure_endpoint(report: Report, *, rows: int) -> None:
    with loopback_server(latency=0.5) as url:
        ours, first = our_rate(url, rows)
        report.row(part="endpoint", latency_ms=500, method="ours", rows_per_second=ours, first_answer=first)
        report.measure("endpoint_busy_500ms", ours * 0.5 / SLOTS, unit="of 64 slots", must=">= 0.95")
        report.measure("first_answer_seconds", first, unit="s", must="<= 2")
    with loopback_server(latency=0.05) as url:
        ours, first = our_rate(url, rows)
        bare = bare_rate(url, rows)
        report.row(part="endpoint", latency_ms=50, method="ours", rows_per_second=ours, first_answer=first)
        report.row(part="endpoint", latency_ms=50, method="bare loop, same client", rows_per_second=bare)
        report.row(
            part="endpoint",
            latency_ms=50,
            method="bare loop, aiohttp",
            rows_per_second=aiohttp_rate(url, rows),
        )
        report.measure("endpoint_rate_ratio", ours / bare, must=">= 0.90")


def our_rate(url: str, rows: int) -> tuple[float, float]:
    """Rows per second, and seconds to the first answer."""
    config = LlmConfig(kind="endpoint", model="fake", base_url=url, concurrency=SLOTS)
    model = EndpointModel(config, token="", allowed_hosts=["127.0.0.1"])
    requests = [Request(key, Prompt("Classify.", f"Content: row {key}\nLabel:")) for key in range(rows)]
    began = time.perf_counter()
    first, answered = 0.0, 0
    for answer in model.ask(requests, LABELS, should_stop=lambda: False):
        first = first or time.perf_counter() - began
        answered += answer.label == 1
    seconds = time.perf_counter() - began
    model.close()
    assert answered == rows, f"{rows - answered} of {rows} rows were not answered"
    return rows / seconds, first


def bare_rate(url: str, rows: int) -> float:
    """The same client and the same questions in the plainest loop: no pace, no repetition, no reading."""

    async def loop() -> float:
        http = make_client(check_address(url, ["127.0.0.1"]), connections=SLOTS, token="")
        client = ChatClient(base_url=url, api_key="none", http=http)

        async def one(key: int) -> None:
            message = {"role": "user", "content": f"Classify.\n\nContent: row {key}\nLabel:"}
            await client.chat_completion([message], model="fake", temperature=0.0, max_tokens=26)

        try:
            return await timed(one, rows)
        finally:
            await client.close()

    return asyncio.run(loop())


def aiohttp_rate(url: str, rows: int) -> float:
    import aiohttp

    async def loop() -> float:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=SLOTS)) as session:

            async def one(key: int) -> None:
                message = {"role": "user", "content": f"Classify.\n\nContent: row {key}\nLabel:"}
                body = {"model": "fake", "messages": [message], "temperature": 0.0}
                async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                    await response.json()

            return await timed(one, rows)

    return asyncio.run(loop())


async def timed(one: Callable[[int], Any], rows: int) -> float:
    waiting = iter(range(rows))

    async def work() -> None:
        for key in waiting:
            await one(key)

    began = time.perf_counter()
    await asyncio.gather(*[work() for _ in range(SLOTS)])
    return rows / (time.perf_counter() - began)


@contextmanager
def loopback_server(*, latency: float) -> Iterator[str]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(latency, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join(5)


def serve(latency: float, ready: Connection) -> None:
    """A chat server with 64 slots; every answer takes ``latency`` seconds."""
    top = [{"token": "positive", "logprob": -0.1}, {"token": "negative", "logprob": -2.4}]
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": "positive"},
        "logprobs": {"content": [{"token": "positive", "logprob": -0.1, "top_logprobs": top}]},
    }
    body = json.dumps(
        {
            "id": "1",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "usage": {"prompt_tokens": 9, "completion_tokens": 1},
        }
    ).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )

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


# --- Local --------------------------------------------------------------------------------------------------------


def measure_local(report: Report, *, rows: int, cache: Path) -> None:
    folder = resolve_weights(EMBEDDED_LLM, weights_dir=None, cache_dir=cache)
    requests = short_requests(rows)
    shared = LocalModel(folder, name=EMBEDDED_LLM, batch_size=32)
    plain = LocalModel(folder, name=EMBEDDED_LLM, batch_size=16, share_prefix=False)
    fewer = requests[: max(8, rows // 4)]  # without sharing, a row takes some five times as long
    with_prefix = local_rate(shared, requests)
    without = local_rate(plain, fewer)
    forward = forward_rate(shared, requests)
    report.row(part="local", method="shared prefix, 8 demonstrations", rows_per_second=with_prefix)
    report.row(part="local", method="prefix in every row", rows_per_second=without)
    report.row(part="local", method="plain forward passes of the rows' own tokens", rows_per_second=forward)
    report.measure("local_prefix_speedup", with_prefix / without, unit="times", must=">= 5")
    report.measure("local_forward_ratio", with_prefix / forward, must=">= 0.90")


def short_requests(rows: int) -> list[Request]:
    """Requests of about MR's size: 8 demonstrations and rows of some 20 words."""
    task = task_named("sentiment")
    texts = [
        " ".join(WORDS[(key * 7 + place * (key % 5 + 1)) % len(WORDS)] for place in range(12 + key % 16))
        for key in range(rows + 8)
    ]
    demonstrations = [
        Demonstration(-key - 1, text, LABELS.names[key % 2]) for key, text in enumerate(texts[:8])
    ]
    return [
        Request(
            key, render_prompt(task.default_prompt, labels=LABELS, demonstrations=demonstrations, shown=text)
        )
        for key, text in enumerate(texts[8:])
    ]


def local_rate(model: LocalModel, requests: list[Request]) -> float:
    list(model.ask(requests[:2], LABELS, should_stop=lambda: False))  # warm up, and read the prefix
    began = time.perf_counter()
    answers = list(model.ask(requests, LABELS, should_stop=lambda: False))
    return len(answers) / (time.perf_counter() - began)


@torch.inference_mode()
def forward_rate(model: LocalModel, requests: list[Request]) -> float:
    """Batched forward passes over the rows' own tokens, with nothing before and nothing read out."""
    rows = sorted((model._encode(request.prompt.query) for request in requests), key=len)
    batches = []
    for start in range(0, len(rows), 32):
        batch = rows[start : start + 32]
        longest = len(batch[-1])
        batches.append(torch.tensor([row + [0] * (longest - len(row)) for row in batch], device=model.device))
    model._model.base_model(input_ids=batches[0], use_cache=False)
    began = time.perf_counter()
    for ids in batches:
        model._model.base_model(input_ids=ids, use_cache=False)
    return len(rows) / (time.perf_counter() - began)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parts", nargs="+", default=["endpoint", "local"], choices=["endpoint", "local"])
    parser.add_argument("--rows", type=int, default=10_000, help="rows asked of the endpoint")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the converted weights here")


if __name__ == "__main__":
    sys.exit(run_bench("llm_throughput", __doc__, measure, add_arguments=add_arguments))
