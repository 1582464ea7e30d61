"""The endpoint client against a real server that misbehaves."""

from __future__ import annotations

import time

import pytest

from mlcore.records import NO_LABEL, Answer, Prompt, Request
from tests.support.endpoint import LABELS, ask, model_of, never, step_fields
from tests.support.fake_llm import Call, Step, fails, fake_llm, play, says


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


def test_stopping_ends_soon_and_keeps_what_was_paid_for() -> None:
    with fake_llm(Step(**step_fields(says("positive"), delay=0.05))) as server:
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
        ask(server, rows=5)
    bodies = [{**call.json, "messages": None} for call in server.calls]
    assert bodies == [bodies[0]] * 5
    assert len({call.prompt for call in server.calls}) == 5
    assert all(call.headers["authorization"] == "Bearer user-token" for call in server.calls)


def test_a_confidence_is_asked_for_once_where_answers_are_json_without_one() -> None:
    with fake_llm(says('{"label": "positive"}')) as server:
        ask(server, rows=5)
    asked = ["confidence" in str(call.json["response_format"]) for call in server.calls]
    assert asked.count(True) == 1


def test_the_distribution_is_read_from_logprobs() -> None:
    top = [{"token": "positive", "logprob": -0.105}, {"token": "negative", "logprob": -2.303}]
    step = says(
        "positive", logprobs={"content": [{"token": "positive", "logprob": -0.105, "top_logprobs": top}]}
    )
    with fake_llm(step) as server:
        probs = ask(server)[0].probs
    assert probs is not None
    assert probs.tolist() == pytest.approx([0.9, 0.1], abs=0.01)


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
