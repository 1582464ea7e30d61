"""Calls at once, and servers that limit them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from mlcore.errors import ModelCallError
from mlcore.llm.endpoint import rate_limit
from mlcore.llm.endpoint.rate_limit import retry_after
from mlcore.records import Prompt, Request
from tests.support.endpoint import LABELS, ask, model_of, never, step_fields
from tests.support.fake_llm import Call, Step, fails, fake_llm, play, says


@pytest.mark.parametrize("after", ["1", "http-date"])
def test_too_many_calls_waits_as_long_as_the_server_asks(after: str) -> None:
    value = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True) if after != "1" else "1"
    with fake_llm([fails(429, Retry_After=value), says("negative")]) as server:
        began = time.monotonic()
        answers = ask(server)
    assert answers[0].label == 1
    assert time.monotonic() - began >= 0.8
    assert len(server.calls) == 2


def test_too_many_calls_without_a_time_backs_off_and_goes_on() -> None:
    with fake_llm(play(*[fails(429)] * 3, then=says("negative"))) as server:
        answers = ask(server, rows=5)
    assert all(answer.label == 1 for answer in answers)
    assert len(server.calls) == 8


def test_concurrency_grows_with_answers_and_halves_when_the_server_says_429() -> None:
    step = Step(**step_fields(says("positive"), delay=0.02))
    with fake_llm(play(*[step] * 100, fails(429), then=step)) as server:
        model = model_of(server, concurrency=16)
        requests = [Request(key, Prompt("", f"row {key}")) for key in range(101)]
        answers = list(model.ask(requests, LABELS, should_stop=never))
        model.close()
    assert server.most_at_once == 16
    # Answers to calls that were out already, 15 at most, let it grow by one again.
    assert model.rate_limiter.limit in (8, 9)
    assert not any(answer.error for answer in answers)


def test_a_server_that_limits_calls_for_long_fails_no_row() -> None:
    with fake_llm(play(*[fails(429)] * 8, then=says("negative"))) as server:
        answers = ask(server, rows=3)
    assert [answer.label for answer in answers] == [1, 1, 1]
    assert len(server.calls) == 11


def test_a_server_that_limits_calls_without_end_pauses_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "BREAKER", 5)
    with fake_llm(fails(429)) as server, pytest.raises(ModelCallError, match=r"5 calls in a row.*429"):
        ask(server, rows=100)
    assert len(server.calls) == 5


def test_a_row_that_alone_is_told_429_is_given_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rate_limit.TRIES_OF, "limited", 3)

    def script(_number: int, call: Call) -> Step:
        return fails(429) if "row 1\n" in call.prompt else says("positive")

    with fake_llm(script) as server:
        answers = ask(server, rows=3)
    assert [bool(answer.error) for answer in answers] == [False, True, False]
    assert len(server.calls) == 5


def test_calls_under_way_that_are_told_429_together_halve_once() -> None:
    found, sent = rate_limit.RateLimiter(most=64, limit=64), time.monotonic()
    for _ in range(30):
        found.limited(None, sent=sent, first_backoff=10.0)
    assert (found.limit, found.failures_in_a_row) == (32, 1)
    assert 4 < found.pause <= 10, "the first pause, not the thirtieth"
    found.limited(40.0, sent=sent, first_backoff=10.0)
    assert found.pause > 39, "what the server asks for holds all the same"
    assert found.failures_in_a_row == 1
    found.limited(None, sent=time.monotonic() + 60.0, first_backoff=10.0)
    assert (found.limit, found.failures_in_a_row) == (16, 2)


def test_retry_after_is_read_in_both_forms() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after("3") == 3
    assert retry_after("Thu, 01 Jan 2026 00:00:07 GMT", now=now) == 7
    assert retry_after("-1") == 0
    assert retry_after("nan") is None
    assert retry_after("soon") is None
    assert retry_after("9e9") == 120
