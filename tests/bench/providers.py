"""How scripted chat servers with habits of their own are met: rows labelled, calls, and calls that were wasted."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from mlcore.config import LlmConfig
from mlcore.errors import ModelUnavailableError
from mlcore.llm.batch import BatchClient
from mlcore.llm.budget import Budget
from mlcore.llm.cost import Prices
from mlcore.llm.endpoint.client import EndpointModel
from mlcore.records import Answer, Prompt, Request
from tests.bench.harness import Options, Report, run_bench
from tests.support.batch_server import BatchServer
from tests.support.dialects import LABELS, PERMANENT, REFUSING, SCRIPTS
from tests.support.fake_llm import Script, Step, fake_llm, says

ROWS = 60


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of asking one server. ``right`` is the number of rows with the label that it meant."""

    right: int
    calls: int
    seconds: float
    stopped: bool


def ask(script: Script | Step, *, rows: int) -> Outcome:
    answers: list[Answer] = []
    stopped = False
    began = time.perf_counter()
    with fake_llm(script) as server:
        config = LlmConfig(kind="endpoint", model="m", base_url=server.url, concurrency=8)
        model = EndpointModel(config, token="", allowed_hosts=["127.0.0.1"], first_backoff=0.05)
        requests = [Request(key, Prompt("Choose.", f"row {key} \nLabel:")) for key in range(rows)]
        try:
            answers.extend(model.ask(requests, LABELS, should_stop=lambda: False))
        except ModelUnavailableError:
            stopped = True
        finally:
            model.close()
        calls = len(server.calls)
    right = sum(answer.label == answer.key % len(LABELS) for answer in answers)
    return Outcome(right, calls, time.perf_counter() - began, stopped)


def batch_cost_ratio(rows: int) -> float:
    """What labelling rows by a batch costs, as a part of what single calls cost, at a server's prices."""
    prices = Prices(price_in=1.0, price_out=4.0, price_cached=0.25)
    plain, by_batch = Budget(prices=prices), Budget(prices=prices)
    script = BatchServer(lambda _number, _call: says(LABELS.names[0]))
    requests = [Request(key, Prompt("Choose.", f"row {key} \nLabel:")) for key in range(rows)]
    with fake_llm(script) as server:
        config = LlmConfig(kind="endpoint", model="m", base_url=server.url, concurrency=8)
        model = EndpointModel(config, token="", allowed_hosts=["127.0.0.1"], budget=plain)
        answers = list(model.ask(requests, LABELS, should_stop=lambda: False))
        client = BatchClient(
            config, token="", headers={}, allowed_hosts=["127.0.0.1"], known=model.capabilities
        )
        batch = client.submit([client.line(request, LABELS) for request in requests], key="bench")
        found = list(client.answers(client.look(batch), LABELS))
        model.close()
        client.close()
    for _answer, usage in found:
        by_batch.spent.add(usage)
    if {answer.label for answer, _usage in found} != {answer.label for answer in answers} or len(
        found
    ) != rows:
        sys.exit("The batch did not give the answers that single calls gave.")
    return by_batch.cost(by_batch.spent) / plain.cost(plain.spent)


def measure(options: Options, report: Report) -> None:
    rows = 20 if options.quick else ROWS
    willing = sum(key >= 2 and key % 5 != 0 for key in range(rows))
    shares, wasted = [], []
    for name, script in SCRIPTS.items():
        outcome = ask(script, rows=rows)
        shares.append(outcome.right / (willing if name in REFUSING else rows))
        wasted.append(outcome.calls - rows)
        report.row(
            dialect=name,
            labelled=outcome.right,
            calls=outcome.calls,
            wasted=wasted[-1],
            seconds=outcome.seconds,
        )
    before_stop = []
    for name, step in PERMANENT.items():
        outcome = ask(step, rows=rows)
        before_stop.append(outcome.calls if outcome.stopped else float("inf"))
        report.row(dialect=name, labelled=outcome.right, calls=outcome.calls, seconds=outcome.seconds)
    unreadable = ask(says("Certainly! I would love to help."), rows=rows)
    report.measure("dialects", len(SCRIPTS), must=">= 24")
    report.measure("dialects_labelled_share", min(shares), must=">= 1.0")
    report.measure("most_wasted_calls", max(wasted), must="<= 8")
    report.measure("calls_before_permanent_stop", max(before_stop), must="<= 2")
    calls = unreadable.calls if unreadable.stopped else float("inf")
    report.measure("calls_before_unreadable_stop", calls, must="<= 20")
    report.measure("batch_cost_ratio", batch_cost_ratio(rows), must="<= 0.55")


if __name__ == "__main__":
    sys.exit(run_bench("providers", __doc__, measure))
