"""What a server takes is found out by a few calls: every row is labelled, and few calls are wasted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from mlcore.config import LlmConfig
from mlcore.errors import ModelUnavailableError
from mlcore.llm.endpoint.capabilities import Capabilities
from mlcore.llm.endpoint.client import EndpointModel
from mlcore.records import NO_LABEL, Answer, Prompt, Request
from tests.support.dialects import (
    LABELS,
    RULES,
    knows_efforts,
    label_of,
    refuses,
    server_of,
    streams_only,
    thinks,
)
from tests.support.fake_llm import Call, FakeLlm, Step, fails, fake_llm, says


def run(
    script: Callable[[int, Call], Step], *, rows: int = 30, known: Capabilities | None = None, **settings: Any
) -> tuple[list[Answer], FakeLlm, EndpointModel]:
    with fake_llm(script) as server:
        config = LlmConfig(kind="endpoint", model="m", base_url=server.url, **{"concurrency": 4, **settings})
        model = EndpointModel(config, token="", allowed_hosts=["127.0.0.1"], known=known, first_backoff=0.01)
        requests = [Request(key, Prompt("Choose.", f"row {key} \nLabel:")) for key in range(rows)]
        try:
            answers = list(model.ask(requests, LABELS, should_stop=lambda: False))
        finally:
            model.close()
    return sorted(answers, key=lambda answer: answer.key), server, model


def are_right(answers: list[Answer]) -> bool:
    return [answer.label for answer in answers] == [answer.key % 3 for answer in answers]


@pytest.mark.parametrize("name", RULES)
def test_every_row_is_labelled_whatever_the_server_takes(name: str) -> None:
    answers, server, model = run(server_of(RULES[name]))
    assert are_right(answers)
    assert len(server.calls) - len(answers) <= 8
    found = model.capabilities
    assert found is not None

    answers, server, _model = run(server_of(RULES[name]), known=found)
    assert are_right(answers)
    assert len(server.calls) == len(answers), "what is known of the server is not found out again"


def test_only_what_the_server_refuses_is_left_out() -> None:
    _answers, _server, model = run(server_of(RULES["a refusal that names nothing"]))
    assert model.capabilities == Capabilities(schema="", logprobs=False)


def test_what_was_known_is_found_out_again_when_a_call_contradicts_it() -> None:
    known = Capabilities(limit_name="max_completion_tokens")
    answers, server, model = run(server_of(RULES["temperature is fixed"]), known=known)
    assert are_right(answers)
    assert len(server.calls) - len(answers) <= 4, "calls under way at once"
    assert model.capabilities == Capabilities(limit_name="max_completion_tokens", temperature=False)


def test_a_streaming_server_is_read_event_by_event() -> None:
    answers, server, _model = run(streams_only)
    assert are_right(answers)
    assert len(server.calls) == 31
    assert answers[5].tokens_in == 40


# --- Thinking -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "inline"])
@pytest.mark.parametrize("tokens", [200, 3_000])
def test_a_model_that_thinks_gets_room_for_it(field: str, tokens: int) -> None:
    answers, server, model = run(lambda _number, call: thinks(call, tokens=tokens, field=field))
    assert are_right(answers)
    assert len(server.calls) - len(answers) <= 2
    assert model.capabilities is not None
    assert (model.capabilities.thinking, model.capabilities.room >= tokens / 2) == ("", True)


@pytest.mark.parametrize(
    ("switch", "off"),
    [
        ("chat_template_kwargs", {"enable_thinking": False}),
        ("enable_thinking", False),
        ("thinking", {"type": "disabled"}),
        ("reasoning_effort", "low"),
    ],
)
def test_thinking_is_turned_off_where_the_server_lets_us(switch: str, off: object) -> None:
    def script(_number: int, call: Call) -> Step:
        if call.json.get(switch) == off:
            return says(label_of(call))
        return thinks(call, tokens=400, field="reasoning_content")

    answers, server, _model = run(script)
    assert are_right(answers)
    assert len(server.calls) - len(answers) == 1, "only the first answer was cut"
    assert server.calls[-1].json[switch] == off
    assert sum(answer.tokens_out for answer in answers) < 7 * 450


def test_the_least_effort_that_the_server_names_is_taken() -> None:
    answers, server, _model = run(knows_efforts)
    assert are_right(answers)
    assert server.calls[-1].json["reasoning_effort"] == "low"
    assert len(server.calls) - len(answers) <= 2


def test_thinking_that_the_user_chose_is_left_alone() -> None:
    answers, server, _model = run(
        lambda _number, call: thinks(call, tokens=10, field="reasoning_content"),
        extra_body='{"reasoning_effort": "high"}',
    )
    assert are_right(answers)
    assert {call.json["reasoning_effort"] for call in server.calls} == {"high"}
    assert not any("chat_template_kwargs" in call.json for call in server.calls)


def test_thoughts_that_never_end_stop_the_run() -> None:
    with pytest.raises(ModelUnavailableError, match="names one of the labels"):
        run(lambda _number, call: thinks(call, tokens=10**6, field="inline"))


# --- Refusals of rows, and of everything ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refusal",
    [
        refuses(400, "The prompt was filtered.", code="content_filter"),
        refuses(400, "Input data may contain inappropriate content.", code="data_inspection_failed"),
        refuses(422, "Content Exists Risk"),
        refuses(403, "Your input was flagged by moderation.", code=403),
        Step(
            body=json.dumps(
                {"base_resp": {"status_code": 1026, "status_msg": "input sensitive content"}}
            ).encode()
        ),
        says(None, finish_reason="content_filter"),
        Step(body=json.dumps({"choices": [{"message": {"content": None, "refusal": "No."}}]}).encode()),
        refuses(400, "This model's maximum context length is 8192 tokens.", code="context_length_exceeded"),
    ],
)
def test_a_refused_row_is_a_row_with_a_reason(refusal: Step) -> None:
    def script(_number: int, call: Call) -> Step:
        key = int(call.prompt.split("row ")[1].split()[0])
        return refusal if key < 2 or key % 4 == 0 else says(label_of(call))

    answers, server, _model = run(script, rows=100)
    refused = [answer for answer in answers if answer.error]
    assert [answer.key for answer in refused] == [0, 1, *range(4, 100, 4)]
    assert are_right([answer for answer in answers if not answer.error])
    assert len(server.calls) == 100, "no row was asked twice"


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        (
            refuses(429, "You exceeded your current quota, see billing.", type="insufficient_quota"),
            "no credit",
        ),
        (refuses(402, "Insufficient Balance"), "no credit"),
        (refuses(403, "Sorry, your account balance is insufficient", code=30011), "no credit"),
        (refuses(400, "Access denied: your account is in arrearage.", code="Arrearage"), "no credit"),
        (refuses(400, "API key not valid. Please pass a valid API key."), "refused the token"),
        (refuses(401, "Incorrect API key provided: sk-abcdef123456"), "refused the token"),
        (refuses(404, "The model `m` does not exist", code="model_not_found"), "no such model"),
        (refuses(400, "m is not a valid model ID"), "no such model"),
        (Step(body=b'{"error": {"message": "Insufficient credits", "code": 402}}'), "no credit"),
        (Step(body=b'{"error": {"message": "No auth credentials found", "code": 401}}'), "refused the token"),
        (fails(404, "<html><h1>Not Found</h1></html>"), "/v1/chat/completions was called"),
    ],
)
def test_a_permanent_failure_stops_within_two_calls(refusal: Step, sentence: str) -> None:
    with fake_llm(refusal) as server:
        config = LlmConfig(kind="endpoint", model="m", base_url=server.url, concurrency=8)
        model = EndpointModel(config, token="", allowed_hosts=["127.0.0.1"])
        requests = [Request(key, Prompt("", f"row {key}")) for key in range(50)]
        with pytest.raises(ModelUnavailableError) as caught:
            list(model.ask(requests, LABELS, should_stop=lambda: False))
        model.close()
    assert len(server.calls) <= 2
    assert sentence.replace("no credit", "no credit or quota") in str(caught.value)
    assert "sk-" not in str(caught.value)


def test_a_limit_in_a_body_of_status_200_is_waited_for() -> None:
    limited = Step(body=b'{"error": {"message": "Provider returned error", "code": 429}}')
    answers, _server, model = run(
        lambda number, call: limited if number < 3 else says(label_of(call)), rows=10
    )
    assert are_right(answers)
    assert model.rate_limiter.failures["limited"] == 3


def test_answers_that_nobody_can_read_stop_the_run_after_twenty_calls() -> None:
    with fake_llm(says("Certainly! I would love to help.")) as server:
        config = LlmConfig(kind="endpoint", model="m", base_url=server.url, concurrency=16)
        model = EndpointModel(config, token="", allowed_hosts=["127.0.0.1"])
        requests = [Request(key, Prompt("", f"row {key}")) for key in range(100)]
        answers: list[Answer] = []
        with pytest.raises(ModelUnavailableError, match="Certainly! I would love to help"):
            answers.extend(model.ask(requests, LABELS, should_stop=lambda: False))
        model.close()
    assert len(server.calls) == 20
    assert all(answer.label == NO_LABEL for answer in answers)
