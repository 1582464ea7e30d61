"""A budget is never exceeded, whatever the server does."""

from __future__ import annotations

import json

import pytest

from mlcore.config import LlmConfig
from mlcore.errors import BudgetSpentError
from mlcore.llm.budget import Budget, Usage
from mlcore.llm.cost import Prices
from mlcore.llm.endpoint.client import EndpointModel
from mlcore.records import Answer, LabelSet, Prompt, Request
from tests.support.fake_llm import Step, fails, fake_llm, play, says

LABELS = LabelSet.of("positive", "negative")
PRICE = Usage(40, 3)  # what the fake server says that a call took


def ask(
    url: str, budget: Budget, rows: int = 100, concurrency: int = 8, deadline: float = 5.0
) -> tuple[list[Answer], str]:
    """The answers, and the sentence with which the run ended."""
    config = LlmConfig(
        kind="endpoint", model="fake", base_url=url, concurrency=concurrency, deadline_seconds=deadline
    )
    model = EndpointModel(config, token="", allowed_hosts=["127.0.0.1"], budget=budget, first_backoff=0.01)
    found: list[Answer] = []
    try:
        for answer in model.ask(
            [Request(key, Prompt("Classify.", f"row {key}")) for key in range(rows)],
            LABELS,
            should_stop=lambda: False,
        ):
            found.append(answer)
    except BudgetSpentError as error:
        return found, str(error)
    finally:
        model.close()
    return found, ""


def test_a_budget_in_tokens_is_used_up_and_never_exceeded() -> None:
    budget = Budget(tokens=2_000)
    with fake_llm(says("positive")) as server:
        answers, sentence = ask(server.url, budget)
        calls = len(server.calls)
    assert calls == len(answers)
    assert (budget.spent.tokens_in, budget.spent.tokens_out) == (40 * calls, 3 * calls)
    assert 2_000 - 500 < 43 * calls <= 2_000, "what is left is less than one more call could take"
    assert f"{43 * calls:,} of 2,000 tokens" in sentence


def test_a_budget_in_money_counts_what_is_read_and_what_is_written() -> None:
    budget = Budget(money=0.01, prices=Prices(price_in=2.0, price_out=10.0))
    with fake_llm(says("positive")) as server:
        answers, sentence = ask(server.url, budget)
    paid = len(answers) * (40 * 2.0 + 3 * 10.0) / 1e6
    assert budget.cost(budget.spent) == pytest.approx(paid)
    assert 0.008 < paid <= 0.01
    assert "of 0.0100" in sentence


def test_a_raised_budget_goes_on_from_what_was_spent() -> None:
    with fake_llm(says("positive")) as server:
        budget = Budget(tokens=1_000)
        first, _ = ask(server.url, budget, rows=30)
        second, sentence = ask(server.url, Budget(tokens=3_000, spent=budget.spent), rows=30)
    assert 0 < len(first) < 30
    assert (len(second), sentence) == (30, "")


def test_a_server_that_does_not_count_is_charged_the_most_that_it_may_have_counted() -> None:
    body = json.loads(says("positive").body)
    del body["usage"]
    budget = Budget(tokens=2_000)
    with fake_llm(Step(body=json.dumps(body).encode())) as server:
        answers, _ = ask(server.url, budget)
    size = len(json.dumps(server.calls[0].json["response_format"]["json_schema"]))
    assert budget.spent.tokens_in >= len(answers) * size
    assert budget.assumed == len(answers), "and it is known of how many calls that is"
    assert 0 < len(answers) < 10


def test_a_call_that_got_no_answer_may_have_been_billed_and_a_refused_one_was_not() -> None:
    budget = Budget(tokens=100_000)
    with fake_llm(play(Step(delay=30), fails(500), fails(429), then=says("positive"))) as server:
        answers, _ = ask(server.url, budget, rows=1, concurrency=1, deadline=0.3)
    assert len(server.calls) == 4
    assert budget.spent.tokens_in > 40 + len("Classify.\n\nrow 0")
    assert answers[0].tokens_in == budget.spent.tokens_in
    assert budget.spent.tokens_in < 2 * 300
    assert budget.assumed == 1


def test_both_calls_of_an_unreadable_answer_are_counted() -> None:
    budget = Budget(tokens=100_000)
    with fake_llm(says("No idea")) as server:
        answers, _ = ask(server.url, budget, rows=1)
    assert len(server.calls) == 2
    assert (answers[0].tokens_in, answers[0].tokens_out) == (80, 6)


def test_no_budget_is_no_limit() -> None:
    with fake_llm(says("positive")) as server:
        answers, sentence = ask(server.url, Budget(), rows=50)
    assert (len(answers), sentence) == (50, "")
