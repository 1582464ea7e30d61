"""The endpoint client against a real server that misbehaves."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from mlcore.config import LlmConfig
from mlcore.errors import ModelCallError, ModelUnavailableError
from mlcore.llm.budget import Budget, Usage
from mlcore.llm.endpoint import guard, rate_limit
from mlcore.llm.endpoint.client import EndpointModel
from mlcore.llm.endpoint.guard import GuardedConnection, check_address
from mlcore.llm.endpoint.rate_limit import retry_after
from mlcore.records import NO_LABEL, Answer, LabelSet, Prompt, Request
from tests.support.fake_llm import Call, FakeLlm, Step, fails, fake_llm, play, says

LABELS = LabelSet.of("positive", "negative")
LOCAL = ["127.0.0.1", "localhost"]


def never() -> bool:
    return False


def model_of(server: FakeLlm, *, token: str = "user-token", **settings: Any) -> EndpointModel:
    settings = {"concurrency": 1, "deadline_seconds": 5.0, **settings}
    config = LlmConfig(kind="endpoint", model="fake", base_url=server.url, **settings)
    return EndpointModel(config, token=token, allowed_hosts=LOCAL, first_backoff=0.01)


def ask(server: FakeLlm, rows: int = 1, **settings: Any) -> list[Answer]:
    model = model_of(server, **settings)
    requests = [Request(key, Prompt("Classify.", f"Content: row {key}\nLabel:")) for key in range(rows)]
    try:
        return sorted(model.ask(requests, LABELS, should_stop=never), key=lambda answer: answer.key)
    finally:
        model.close()


def test_every_row_is_answered_once() -> None:
    def script(_number: int, call: Call) -> Step:
        return says("positive" if int(call.prompt.split()[3]) % 2 else "negative")

    with fake_llm(script) as server:
        answers = ask(server, rows=50, concurrency=8)
    assert [answer.key for answer in answers] == list(range(50))
    assert [answer.label for answer in answers] == [1 - key % 2 for key in range(50)]
    assert len(server.calls) == 50
    assert answers[0].tokens_in == 40


def test_the_call_asks_for_temperature_zero_logprobs_and_the_label_names_only() -> None:
    with fake_llm(says("positive")) as server:
        ask(server)
    sent = server.calls[0].json
    assert server.calls[0].path == "/v1/chat/completions"
    assert (sent["temperature"], sent["logprobs"], sent["top_logprobs"]) == (0.0, True, 5)
    schema = sent["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["label"]["enum"] == ["positive", "negative"]
    assert server.calls[0].headers["authorization"] == "Bearer user-token"
    assert server.calls[0].headers["content-type"] == "application/json"


def test_the_machines_own_token_is_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary")
    with fake_llm(says("positive")) as server:
        ask(server, token="")
    assert "authorization" not in server.calls[0].headers
    assert "canary" not in json.dumps([dict(call.headers) for call in server.calls])


def test_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with fake_llm(says("positive")) as server:
        assert ask(server)[0].label == 0


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
    step = Step(**_fields(says("positive"), delay=0.02))
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


def _fields(step: Step, **changes: Any) -> dict[str, Any]:
    return {name: getattr(step, name) for name in Step.__slots__} | changes


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


def test_a_server_without_constrained_output_is_asked_without_it_from_then_on() -> None:
    def script(_number: int, call: Call) -> Step:
        return (
            fails(400, "unknown field response_format")
            if "response_format" in call.json
            else says("positive")
        )

    with fake_llm(script) as server:
        answers = ask(server, rows=20, concurrency=4)
    assert all(answer.label == 0 for answer in answers)
    assert len(server.calls) == 21
    assert server.calls[-1].json["logprobs"] is True


@pytest.mark.parametrize("concurrency", [2, 4])
def test_a_first_row_that_is_refused_for_what_it_says_costs_the_others_nothing(concurrency: int) -> None:
    def script(_number: int, call: Call) -> Step:
        return fails(400, "not this one") if "row 0\n" in call.prompt else says("positive")

    with fake_llm(script) as server:
        answers = ask(server, rows=20, concurrency=concurrency)
    assert [bool(answer.error) for answer in answers] == [True] + [False] * 19
    assert len(server.calls) == 22, "the refused row was tried with less, once, as was a harmless text"
    whole = ["logprobs" in call.json and "response_format" in call.json for call in server.calls]
    assert all(whole[-8:]), "only until the row was refused again was less asked of the others"


def test_a_hanging_server_is_left_at_the_deadline() -> None:
    with fake_llm(play(Step(delay=30), then=says("positive"))) as server:
        began = time.monotonic()
        answers = ask(server, deadline_seconds=0.5)
    assert answers[0].label == 0
    assert len(server.calls) == 2
    assert time.monotonic() - began < 5


def test_a_dripping_server_is_left_at_the_total_deadline() -> None:
    with fake_llm(play(Step(**_fields(says("positive"), drip=0.2)), then=says("negative"))) as server:
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
    open_socket = GuardedConnection._open_socket

    def counted(connection: GuardedConnection, info: Any) -> socket.socket:
        tried.append(info[4][1])
        return open_socket(connection, info)

    monkeypatch.setattr(GuardedConnection, "_open_socket", counted)
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
        Step(**_fields(says("positive"), cut=50)),
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


def test_time_spent_waiting_for_a_turn_is_not_the_calls() -> None:
    with fake_llm(play(fails(429, Retry_After="1"), then=says("positive"))) as server:
        began = time.monotonic()
        answers = ask(server, rows=2, concurrency=2)
        took = time.monotonic() - began
    assert (len(server.calls), server.most_at_once) == (3, 1)
    assert sum(answer.seconds for answer in answers) <= took - 0.9, (
        "both rows waited, neither was asked meanwhile"
    )


def test_an_answer_without_text_is_an_error_of_its_row() -> None:
    with fake_llm(play(says(None), says(None), then=says("positive"))) as server:
        answers = ask(server, rows=2)
    assert "no text" in str(answers[0].error)
    assert answers[1].label == 0
    assert len(server.calls) == 3, "two tries, then the next row"


@pytest.mark.parametrize(
    "text", ["I can't help with that.", "positive or negative", "It is not positive", "neutral"]
)
def test_an_unreadable_answer_is_asked_again_once_and_kept_raw(text: str) -> None:
    with fake_llm(says(text)) as server:
        answer = ask(server)[0]
    assert (answer.label, answer.probs, answer.raw, answer.error) == (NO_LABEL, None, text, None)
    assert len(server.calls) == 2
    assert "exactly one of these names" in server.calls[1].prompt


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


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_and_the_other_host_never_called(status: int) -> None:
    with (
        fake_llm(says("positive")) as canary,
        fake_llm(fails(status, Location=f"{canary.url}/v1/chat/completions")) as server,
    ):
        with pytest.raises(ModelUnavailableError, match="redirect"):
            ask(server, rows=10)
        assert canary.calls == []


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest",
        "http://10.0.0.1/",
        "http://[::ffff:10.0.0.1]/",
        "http://0.0.0.0/",
        "http://[::1]/",
        "http://user:pw@127.0.0.1/",
        "http://:pw@127.0.0.1/",
        "http://@127.0.0.1/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1./",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "127.0.0.1",
        "",
        "gpt2",
        "//127.0.0.1/",
        "http://",
        "http://127.0.0.1/#x",
        "http://127.1/",
        "http://2130706433/",
        "http://evil.example/",
        "http://[",
        "http://a:b",
    ],
)
def test_an_address_that_is_not_allowed_is_refused(address: str) -> None:
    with pytest.raises(ModelUnavailableError):
        check_address(address, LOCAL)


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/",
        "http://10.1.2.3/",
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
    ],
)
def test_a_star_allows_public_hosts_only(address: str) -> None:
    assert check_address("https://llm.example.org/v1", ["*"]).host == "llm.example.org"
    with pytest.raises(ModelUnavailableError):
        check_address(address, ["*"])


def test_metadata_addresses_are_refused_even_if_listed() -> None:
    with pytest.raises(ModelUnavailableError):
        check_address("http://169.254.169.254/", ["169.254.169.254"])


@pytest.mark.parametrize("address", [f"http://{'a' * 70}.example/", "http://a..example/", "http://./"])
def test_a_name_that_the_internet_has_no_form_for_is_refused(address: str) -> None:
    with pytest.raises(ModelUnavailableError, match="not a server's address"):
        check_address(address, ["*"])


@pytest.mark.parametrize(
    "address",
    [
        "fec0::1",
        "fd00::1",
        "64:ff9b::10.0.0.1",
        "2002:a00:1::",
        "::10.0.0.1",
        "::ffff:10.0.0.1",
        "2001:0:1::1",
    ],
)
def test_an_internal_address_in_a_form_of_the_sixth_version_is_refused_under_a_star(address: str) -> None:
    with pytest.raises(ModelUnavailableError, match="internal address"):
        check_address(f"http://[{address}]/", ["*"])


def test_a_public_address_of_the_sixth_version_is_allowed_under_a_star() -> None:
    for address in ("2606:4700::1111", "64:ff9b::8.8.8.8"):
        assert check_address(f"http://[{address}]/", ["*"]).host == address


@pytest.mark.parametrize("name", ["bücher.example", "BÜCHER.example", "xn--bcher-kva.example"])
def test_a_name_with_letters_of_any_kind_is_called(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def found(host: str, port: int, *_rest: Any, **_more: Any) -> Sequence[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    with fake_llm(says("positive")) as server:
        monkeypatch.setattr(socket, "getaddrinfo", found)
        config = LlmConfig(kind="endpoint", model="fake", base_url=f"http://{name}:{server.port}/möbel")
        model = EndpointModel(config, token="", allowed_hosts=[name.lower()])
        answers = list(model.ask([Request(1, Prompt("", "x"))], LABELS, should_stop=never))
        model.close()
    assert [answer.label for answer in answers] == [0]
    assert set(asked) == {"xn--bcher-kva.example"}
    assert server.calls[0].path == "/m%C3%B6bel/v1/chat/completions"


def test_large_headers_are_read() -> None:
    more = {f"X-{number}": "x" for number in range(200)} | {"Set-Cookie": "a=" + "x" * 20_000}
    with fake_llm(Step(**_fields(says("positive"), headers=more))) as server:
        assert [answer.label for answer in ask(server, rows=2)] == [0, 0]
        assert "cookie" not in server.calls[1].headers


@pytest.mark.parametrize("address", ["http://0x7f000001/", "http://0x7f.1/", "http://rebound.example/"])
def test_a_name_that_leads_to_an_internal_address_is_refused_when_the_socket_opens(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inner(host: str, port: int, *_rest: Any, **_more: Any) -> Sequence[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    with fake_llm(says("positive")) as canary:
        monkeypatch.setattr(socket, "getaddrinfo", inner)
        config = LlmConfig(kind="endpoint", model="fake", base_url=address.rstrip("/") + f":{canary.port}")
        model = EndpointModel(config, token="", allowed_hosts=["*"])
        with pytest.raises(ModelUnavailableError, match="internal address"):
            list(model.ask([Request(1, Prompt("", "x"))], LABELS, should_stop=never))
        model.close()
        assert canary.calls == []


def test_stopping_ends_soon_and_keeps_what_was_paid_for() -> None:
    with fake_llm(Step(**_fields(says("positive"), delay=0.05))) as server:
        model = model_of(server, concurrency=4)
        requests = [Request(key, Prompt("", f"row {key}")) for key in range(1000)]
        answers: list[Answer] = []
        began = time.monotonic()
        for answer in model.ask(requests, LABELS, should_stop=lambda: len(answers) >= 10):
            answers.append(answer)
        model.close()
    assert time.monotonic() - began < 5
    assert len(answers) == len(server.calls) < 30


def test_stopping_does_not_wait_for_a_hanging_server() -> None:
    with fake_llm(Step(delay=30)) as server:
        model = model_of(server, concurrency=4, deadline_seconds=60.0)
        began = time.monotonic()
        answers = list(
            model.ask(
                [Request(1, Prompt("", "x"))], LABELS, should_stop=lambda: time.monotonic() > began + 0.3
            )
        )
        model.close()
    assert answers == []
    assert time.monotonic() - began < 6
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    "text",
    [
        "Positive",
        " positive. ",
        '"positive"',
        "**positive**",
        '{"label": "positive"}',
        '{"label": "POSITIVE", "sure": 1}',
    ],
)
def test_a_name_in_other_clothes_is_read_from_the_first_call(text: str) -> None:
    with fake_llm(says(text)) as server:
        assert ask(server)[0].label == 0
    assert len(server.calls) == 1


@pytest.mark.parametrize("text", ["正面", "neutral", "positive, negative", "pos"])
def test_an_answer_outside_the_labels_is_asked_for_twice_and_no_more(text: str) -> None:
    with fake_llm(says(text, finish_reason="length")) as server:
        assert ask(server, rows=3)[2].label == NO_LABEL
    assert len(server.calls) == 6


def test_a_second_answer_that_is_a_name_counts() -> None:
    with fake_llm(play(says("It is hard to say."), then=says("negative"))) as server:
        answer = ask(server)[0]
    assert (answer.label, answer.raw, len(server.calls)) == (1, "negative", 2)
    assert answer.tokens_in == 80


def test_a_request_is_the_same_for_every_row_but_for_the_message() -> None:
    with fake_llm(says("positive")) as server:
        ask(server, rows=3)
    bodies = [{**call.json, "messages": None} for call in server.calls]
    assert bodies == [bodies[0]] * 3
    assert len({call.prompt for call in server.calls}) == 3
    assert all(call.headers["authorization"] == "Bearer user-token" for call in server.calls)


def test_the_distribution_is_read_from_logprobs() -> None:
    top = [{"token": "positive", "logprob": -0.105}, {"token": "negative", "logprob": -2.303}]
    step = says(
        "positive", logprobs={"content": [{"token": "positive", "logprob": -0.105, "top_logprobs": top}]}
    )
    with fake_llm(step) as server:
        probs = ask(server)[0].probs
    assert probs is not None
    assert probs.tolist() == pytest.approx([0.9, 0.1], abs=0.01)


def test_the_hub_is_not_asked_without_a_token() -> None:
    with pytest.raises(ModelUnavailableError, match="token"):
        EndpointModel(LlmConfig(kind="hub", model="a/b"), token="", allowed_hosts=[])


def test_retry_after_is_read_in_both_forms() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after("3") == 3
    assert retry_after("Thu, 01 Jan 2026 00:00:07 GMT", now=now) == 7
    assert retry_after("-1") == 0
    assert retry_after("nan") is None
    assert retry_after("soon") is None
    assert retry_after("9e9") == 120


def test_calls_wait_while_nobody_takes_the_answers() -> None:
    requests = [Request(row, Prompt("", f"row {row}")) for row in range(60)]
    with fake_llm(lambda _number, _call: says("positive")) as server:
        model = model_of(server, concurrency=4)
        try:
            answers = model.ask(requests, LABELS, should_stop=never)
            next(answers)
            time.sleep(0.5)
            assert len(server.calls) <= 1 + 3 * 4
            assert len(list(answers)) == 59
        finally:
            model.close()
