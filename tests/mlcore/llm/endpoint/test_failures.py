"""Servers that fail, hang or send what is no answer."""

from __future__ import annotations

import contextlib
import gzip
import socket
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from mlcore.config import LlmConfig
from mlcore.errors import ModelCallError, ModelUnavailableError
from mlcore.llm.budget import Budget, Usage
from mlcore.llm.endpoint import guard
from mlcore.llm.endpoint.client import EndpointModel
from mlcore.llm.endpoint.guard import GuardedConnection
from mlcore.records import NO_LABEL, Answer, Prompt, Request
from tests.support.endpoint import LABELS, LOCAL, ask, model_of, never, step_fields
from tests.support.fake_llm import Call, Step, fails, fake_llm, play, says


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_burst_of_server_errors_is_ridden_out(status: int) -> None:
    with fake_llm(play(*[fails(status)] * 5, then=says("positive"))) as server:
        assert ask(server)[0].label == 0
    assert len(server.calls) == 6


def test_a_row_is_tried_six_times_and_the_run_goes_on() -> None:
    def script(_number: int, call: Call) -> Step:
        return fails(500) if "row 1\n" in call.prompt else says("positive")

    with fake_llm(script) as server:
        answers = ask(server, rows=3)
    assert [bool(answer.error) for answer in answers] == [False, True, False]
    assert "500" in str(answers[1].error)
    assert len(server.calls) == 8


def test_twenty_failures_in_a_row_pause_the_run() -> None:
    with fake_llm(fails(500)) as server, pytest.raises(ModelCallError, match="20 calls in a row"):
        ask(server, rows=100, concurrency=8)
    assert 20 <= len(server.calls) <= 28


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422])
def test_a_hopeless_error_stops_within_two_calls_and_says_what_the_server_said(status: int) -> None:
    with fake_llm(fails(status, "no, user-token")) as server, pytest.raises(ModelUnavailableError) as caught:
        ask(server, rows=100, concurrency=16)
    assert len(server.calls) <= 2
    assert str(status) in str(caught.value)
    assert "The server said: “no, …”" in str(caught.value), "but never the token"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_token_or_model_that_is_taken_away_stops_the_run_at_once(status: int) -> None:
    with fake_llm(play(*[says("positive")] * 5, then=fails(status))) as server:
        model, answers = model_of(server), list[Answer]()
        requests = [Request(key, Prompt("", f"row {key}")) for key in range(100)]
        with pytest.raises(ModelUnavailableError, match=str(status)):
            answers.extend(model.ask(requests, LABELS, should_stop=never))
        model.close()
    assert len(answers) == 5
    assert len(server.calls) == 6


def test_a_hanging_server_is_left_at_the_deadline() -> None:
    with fake_llm(play(Step(delay=30), then=says("positive"))) as server:
        began = time.monotonic()
        answers = ask(server, deadline_seconds=0.5)
    assert answers[0].label == 0
    assert len(server.calls) == 2
    assert time.monotonic() - began < 5


def test_a_dripping_server_is_left_at_the_total_deadline() -> None:
    with fake_llm(play(Step(**step_fields(says("positive"), drip=0.2)), then=says("negative"))) as server:
        began = time.monotonic()
        answers = ask(server, deadline_seconds=1.0)
    assert answers[0].label == 1
    assert len(server.calls) == 2
    assert time.monotonic() - began < 5


@contextlib.contextmanager
def unreachable(how: str) -> Iterator[int]:
    """A port at which no connection can be made: nobody listens, or somebody who never takes the next one."""
    with socket.socket() as server, contextlib.ExitStack() as stack:
        server.bind(("127.0.0.1", 0))
        if how == "never taken":
            server.listen(0)
            for _ in range(2):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]


@pytest.mark.parametrize("how", ["refused", "never taken"])
def test_a_server_that_takes_no_connection_is_tried_six_times(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "CONNECT_SECONDS", 0.1)
    tried: list[int] = []
    open_socket = GuardedConnection.open_socket

    def counted(connection: GuardedConnection, info: Any) -> socket.socket:
        tried.append(info[4][1])
        return open_socket(connection, info)

    monkeypatch.setattr(GuardedConnection, "open_socket", counted)
    with unreachable(how) as port:
        config = LlmConfig(kind="endpoint", base_url=f"http://127.0.0.1:{port}", concurrency=4)
        budget = Budget(tokens=10_000)
        model = EndpointModel(config, token="", allowed_hosts=LOCAL, budget=budget, first_backoff=0.001)
        answers = list(model.ask([Request(1, Prompt("", "x"))], LABELS, should_stop=never))
        assert tried == [port] * 6
        with pytest.raises(ModelCallError, match="20 calls in a row"):
            list(model.ask([Request(key, Prompt("", "x")) for key in range(9)], LABELS, should_stop=never))
        model.close()
    assert "can't be reached" in str(answers[0].error)
    assert len(tried) == 20, "no call went out while another row was still to be told"
    assert budget.spent == Usage(), "no call left this machine"


@pytest.mark.parametrize(
    "step",
    [
        Step(reset=True),
        Step(**step_fields(says("positive"), cut=50)),
        Step(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        Step(raw=b"nonsense\r\n\r\n"),
        Step(raw=b"HTTP/1.1 200 OK\r\nContent-"),
    ],
    ids=["reset", "cut body", "bad chunk", "bad status line", "early close"],
)
def test_a_broken_connection_is_tried_again(step: Step) -> None:
    with fake_llm(play(step, step, then=says("positive"))) as server:
        assert ask(server)[0].label == 0
    assert len(server.calls) == 3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b"{",
        b"{}",
        b'{"choices": []}',
        b'{"choices": null}',
        b"[]",
        b"7",
        b'"x"',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": 7}}]}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"choices": [{"message": {"content": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}]}",
    ],
    ids=range(14),
)
def test_an_answer_of_another_shape_is_tried_twice_and_fails_its_row_only(body: bytes) -> None:
    def script(_number: int, call: Call) -> Step:
        return Step(body=body) if "row 1\n" in call.prompt else says("negative")

    with fake_llm(script) as server:
        answers = ask(server, rows=3)
    assert [answer.label for answer in answers] == [1, NO_LABEL, 1]
    assert answers[1].error
    assert len(server.calls) == 4


@pytest.mark.parametrize("charset", ["hex", "undefined", "utf-7", "?"])
def test_a_refusal_in_no_encoding_of_text_is_read(charset: str) -> None:
    refused = fails(400, "unknown field logprobs", Content_Type=f"text/plain; charset={charset}")

    def script(_number: int, call: Call) -> Step:
        return refused if "logprobs" in call.json else says("positive")

    with fake_llm(script) as server:
        assert ask(server)[0].label == 0
    assert len(server.calls) == 2


@pytest.mark.parametrize(
    "step",
    [
        Step(body=b"x" * 100_000, endless=True),
        Step(body=gzip.compress(b"0" * 100_000_000), headers={"Content-Encoding": "gzip"}),
        Step(body=b"x", headers={"Content-Encoding": "br"}),
        Step(body=b"x", headers={"Content-Encoding": "gzip"}),
    ],
    ids=["endless", "gzip bomb", "other packing", "damaged packing"],
)
def test_a_huge_or_oddly_packed_answer_fails_its_row(step: Step) -> None:
    tracemalloc.start()
    try:
        with fake_llm(play(step, step, then=says("positive"))) as server:
            answers = ask(server, rows=2)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answers[0].error
    assert answers[1].label == 0
    assert len(server.calls) == 3, "two tries, then the next row"
    assert peak < 50 * 2**20


def test_an_answer_that_is_packed_although_not_asked_for_is_read() -> None:
    plain = says("positive")
    step = Step(body=gzip.compress(plain.body), headers={"Content-Encoding": "gzip"})
    with fake_llm(step) as server:
        assert ask(server)[0].label == 0


def test_large_headers_are_read() -> None:
    more = {f"X-{number}": "x" for number in range(200)} | {"Set-Cookie": "a=" + "x" * 20_000}
    with fake_llm(Step(**step_fields(says("positive"), headers=more))) as server:
        assert [answer.label for answer in ask(server, rows=2)] == [0, 0]
        assert "cookie" not in server.calls[1].headers
