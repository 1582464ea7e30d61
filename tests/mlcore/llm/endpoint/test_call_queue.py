"""Requests that are still being made while the first ones are answered."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from mlcore.llm.endpoint.call_queue import INBOX_PER_CALL, OUTBOX_PER_CALL
from mlcore.llm.model import StreamingModel
from mlcore.records import NO_LABEL, Answer, LabelSet, Prompt, Request
from tests.support.endpoint import model_of, never
from tests.support.fake_llm import Call, Step, fake_llm, says

LABELS = LabelSet.of("positive", "negative")


def request_of(key: int) -> Request:
    return Request(key, Prompt("", f"row {key}"))


def test_calls_go_on_while_further_requests_are_being_made() -> None:
    made: list[int] = []

    def slowly() -> Iterator[Request]:
        for key in range(12):
            if key == 8:
                assert len(server.calls) >= 4, "the first ones were not asked yet"
            made.append(key)
            time.sleep(0.02)
            yield request_of(key)

    with fake_llm(says("positive")) as server:
        model = model_of(server, concurrency=4)
        assert isinstance(model, StreamingModel)
        answers = list(model.ask_stream(slowly(), LABELS, should_stop=never))
        model.close()
    assert sorted(answer.key for answer in answers) == made == list(range(12))


def test_only_so_many_requests_are_made_ahead_of_the_calls() -> None:
    made: list[int] = []

    def counted() -> Iterator[Request]:
        for key in range(1_000):
            made.append(key)
            yield request_of(key)

    with fake_llm(says("positive")) as server:
        model = model_of(server, concurrency=2)
        answers = model.ask_stream(counted(), LABELS, should_stop=never)
        next(answers)
        assert len(made) <= (INBOX_PER_CALL + OUTBOX_PER_CALL + 3) * 2
        assert len(list(answers)) == 999
        model.close()
    assert len(server.calls) == 1_000


def test_answers_that_are_known_come_between_the_others_and_are_not_asked_for() -> None:
    def mixed() -> Iterator[Request | Answer]:
        for key in range(40):
            yield Answer(key, 1, None, "known", cached=True) if key % 2 else request_of(key)

    with fake_llm(says("positive")) as server:
        model = model_of(server, concurrency=4)
        answers = sorted(model.ask_stream(mixed(), LABELS, should_stop=never), key=lambda answer: answer.key)
        model.close()
    assert [answer.label for answer in answers] == [0, 1] * 20
    assert len(server.calls) == 20


def test_stopping_ends_a_stream_that_has_no_end() -> None:
    def endless() -> Iterator[Request]:
        key = 0
        while True:
            yield request_of(key)
            key += 1

    answers: list[Answer] = []
    with fake_llm(says("positive")) as server:
        model = model_of(server, concurrency=4)
        for answer in model.ask_stream(endless(), LABELS, should_stop=lambda: len(answers) >= 10):
            answers.append(answer)
        model.close()
    assert 10 <= len(answers) == len(server.calls) < 40


def test_an_error_while_requests_are_made_reaches_the_caller() -> None:
    def broken() -> Iterator[Request]:
        yield from map(request_of, range(4))
        time.sleep(0.1)
        raise OSError("The disk is gone.")

    with fake_llm(says("positive")) as server:
        model = model_of(server, concurrency=4)
        with pytest.raises(OSError, match="disk"):
            list(model.ask_stream(broken(), LABELS, should_stop=never))
        model.close()


def test_nothing_to_ask_ends_at_once() -> None:
    def script(_number: int, _call: Call) -> Step:
        raise AssertionError("nobody was to be asked")

    with fake_llm(script) as server:
        model = model_of(server, concurrency=4)
        known = Answer(1, NO_LABEL, None, "known", cached=True)
        assert list(model.ask_stream(iter([known]), LABELS, should_stop=never)) == [known]
        model.close()
