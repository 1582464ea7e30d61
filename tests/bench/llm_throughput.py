"""How busy an endpoint is kept, and what the shared prefix saves with weights on this machine.

The endpoint is a server on loopback in a process of its own, with 64 slots and a fixed latency.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch

from mlcore.config import EMBEDDED_LLM
from mlcore.llm.local.model import LocalModel
from mlcore.prompting.prompts import render_prompt
from mlcore.prompting.tasks import task_named
from mlcore.records import Answer, Demonstration, LabelSet, Request
from mlcore.weights import resolve_weights
from tests.bench.endpoint_runs import (
    SLOTS,
    aiohttp_rate,
    bare_rate,
    loopback_server,
    our_rate,
)
from tests.bench.harness import Options, Report, in_process, run_bench
from tests.support.words import WORDS

LABELS = LabelSet.of("negative", "positive")
BATCH_ROWS = 32
REPEATS = 5
TURNS = 3


def measure(options: Options, report: Report) -> None:
    if "endpoint" in options.extra.parts:
        rows = 300 if options.quick else options.extra.rows
        measure_endpoint(report, rows=rows, latencies=options.extra.latencies)
    if "local" in options.extra.parts:
        with tempfile.TemporaryDirectory() as scratch:
            measure_local(
                report, rows=16 if options.quick else 96, cache=options.extra.cache or Path(scratch)
            )


# --- Endpoint -----------------------------------------------------------------------------------------------------


def measure_endpoint(report: Report, *, rows: int, latencies: Sequence[int]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        if 500 in latencies:
            _measure_slow(report, rows, Path(scratch) / "slow")
        if 50 in latencies:
            _measure_quick(report, rows, Path(scratch))


def _measure_slow(report: Report, rows: int, folder: Path) -> None:
    with loopback_server(latency=0.5) as url:
        ours, first = in_process(our_rate, folder, url, rows)
    report.row(
        part="endpoint", latency_ms=500, method="ours, stored", rows_per_second=ours, first_answer=first
    )
    report.measure("endpoint_busy_500ms", ours * 0.5 / SLOTS, unit="of 64 slots", must=">= 0.95")
    report.measure("first_answer_seconds", first, unit="s", must="<= 2")


def _measure_quick(report: Report, rows: int, scratch: Path) -> None:
    """Bare loops and ours in turn, and medians: what else the machine does meanwhile weighs on both sides."""
    bare, ours, firsts, ratios = list[float](), list[float](), list[float](), list[float]()
    with loopback_server(latency=0.05) as url:
        bare.append(in_process(bare_rate, url, rows))
        for turn in range(TURNS):
            rate, first = in_process(our_rate, scratch / f"quick-{turn}", url, rows)
            bare.append(in_process(bare_rate, url, rows))
            ours.append(rate)
            firsts.append(first)
            ratios.append(2 * rate / (bare[-2] + bare[-1]))
        limit = in_process(aiohttp_rate, url, rows)
    for method, rate in (("bare loop, the hub's client", median(bare)), ("bare loop, aiohttp", limit)):
        report.row(part="endpoint", latency_ms=50, method=method, rows_per_second=rate)
    report.row(
        part="endpoint",
        latency_ms=50,
        method="ours, stored",
        rows_per_second=median(ours),
        first_answer=median(firsts),
    )
    report.measure("endpoint_rate_ratio", median(ratios), must=">= 0.90")


# --- Local --------------------------------------------------------------------------------------------------------


def measure_local(report: Report, *, rows: int, cache: Path) -> None:
    """Ours and plain passes in turn, so that what else the machine does meanwhile weighs on both sides."""
    folder = resolve_weights(EMBEDDED_LLM, weights_dir=None, cache_dir=cache)
    requests = short_requests(rows)
    shared = LocalModel(folder, name=EMBEDDED_LLM, batch_size=BATCH_ROWS)
    plain = LocalModel(folder, name=EMBEDDED_LLM, batch_size=16, share_prefix=False)
    fewer = requests[: max(8, rows // 4)]  # without sharing, a row takes some five times as long
    without, own, forward = Timing(), Timing(), Timing()
    batches = forward_batches(plain, requests)
    ask(shared, requests[:BATCH_ROWS])  # warm up, and read the prefix
    forward_passes(plain, batches[:1])
    for _ in range(REPEATS):
        own.add(lambda: ask(shared, requests), rows)
        forward.add(lambda: forward_passes(plain, batches), rows)
    without.add(lambda: ask(plain, fewer), len(fewer))
    for method, timing in (
        ("shared prefix, 8 demonstrations", own),
        ("prefix in every row", without),
        ("plain forward passes of the rows' own tokens", forward),
    ):
        report.row(
            part="local",
            method=method,
            rows_per_second=timing.rate,
            rows_per_processor_second=timing.own_rate,
        )
    report.measure("local_prefix_speedup", own.rate / without.rate, unit="times", must=">= 5")
    report.measure("local_forward_ratio", own.rate / forward.rate, must=">= 0.90")
    report.measure("local_forward_ratio_by_processor_time", own.own_rate / forward.own_rate)


class Timing:
    """Rows a second, and rows a second of processor time (which other programs hardly change); medians."""

    def __init__(self) -> None:
        self._rates: list[float] = []
        self._own_rates: list[float] = []

    def add(self, work: Callable[[], object], rows: int) -> None:
        began, own = time.perf_counter(), time.process_time()
        work()
        self._own_rates.append(rows / (time.process_time() - own))
        self._rates.append(rows / (time.perf_counter() - began))

    @property
    def rate(self) -> float:
        return median(self._rates)

    @property
    def own_rate(self) -> float:
        return median(self._own_rates)


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


def ask(model: LocalModel, requests: list[Request]) -> list[Answer]:
    return list(model.ask(requests, LABELS, should_stop=lambda: False))


def forward_batches(model: LocalModel, requests: list[Request]) -> list[torch.Tensor]:
    """The rows' own tokens in the batches that :meth:`LocalModel.ask` makes of them too. The two names have no tokens that
    have to be read: each is one, and its probability stands where the row ends."""
    rows = sorted((model._encode(request.prompt.query) for request in requests), key=len)
    batches = []
    for start in range(0, len(rows), BATCH_ROWS):
        batch = rows[start : start + BATCH_ROWS]
        longest = len(batch[-1])
        batches.append(torch.tensor([row + [0] * (longest - len(row)) for row in batch], device=model.device))
    return batches


@torch.inference_mode()
def forward_passes(model: LocalModel, batches: list[torch.Tensor]) -> None:
    """As transformers does them, with its own attention; nothing stands before the rows and nothing is read out."""
    for ids in batches:
        model._scorer._model.base_model(input_ids=ids, use_cache=False)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parts", nargs="+", default=["endpoint", "local"], choices=["endpoint", "local"])
    parser.add_argument("--latencies", nargs="+", type=int, default=[500, 50], choices=[500, 50])
    parser.add_argument("--rows", type=int, default=10_000, help="rows asked of the endpoint")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the converted weights here")


if __name__ == "__main__":
    sys.exit(run_bench("llm_throughput", __doc__, measure, add_arguments=add_arguments))
