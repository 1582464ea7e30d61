"""A confidence that the model states beside its label, where a server gives no log-probabilities."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from mlcore.llm.endpoint.capabilities import Capabilities
from mlcore.prompting.answers import read_answer, read_confidence
from mlcore.records import Answer, Prompt, Request
from tests.support.dialects import LABELS, label_of, refuses
from tests.support.endpoint import model_of, never
from tests.support.fake_llm import Call, Step, fake_llm, says


def answers_of(script: Callable[[int, Call], Step] | Step) -> tuple[list[Answer], Capabilities]:
    requests = [Request(key, Prompt("Classify.", f"row {key}")) for key in range(12)]
    with fake_llm(script) as server:
        model = model_of(server)
        answers = list(model.ask(requests, LABELS, should_stop=never))
        assert model.capabilities is not None
        model.close()
        return answers, model.capabilities


def states(call: Call, confidence: Any = 83) -> Step:
    """The right label, with a confidence where the schema asks for one."""
    label = json.loads(label_of(call))
    schema = call.json.get("response_format", {}).get("json_schema", {}).get("schema", {})
    asked = "confidence" in schema.get("properties", {}) or '"confidence"' in call.prompt
    return says(json.dumps(label | ({"confidence": confidence} if asked else {})))


def test_without_log_probabilities_the_schema_asks_for_a_confidence() -> None:
    answers, found = answers_of(lambda _number, call: states(call))
    assert found.confidence
    assert not found.logprobs, "what never comes is not asked for"
    assert {answer.label for answer in answers} == {0, 1, 2}
    stated = [answer.stated for answer in answers]
    assert stated.count(0.83) >= len(answers) - 2
    assert all(answer.probs is None for answer in answers), "a stated confidence is no distribution"


def test_a_server_that_refuses_the_longer_schema_keeps_the_short_one() -> None:
    def script(_number: int, call: Call) -> Step:
        if '"confidence"' in json.dumps(call.json.get("response_format", {})):
            return refuses(400, "The schema has too many properties")
        return says(label_of(call))

    answers, found = answers_of(script)
    assert not found.confidence
    assert found.schema == "json_schema"
    assert all(answer.error is None and answer.stated is None for answer in answers)


def test_a_model_that_states_none_is_not_asked_any_more() -> None:
    answers, found = answers_of(lambda _number, call: says(label_of(call)))
    assert not found.confidence
    assert all(answer.error is None for answer in answers)


def test_with_log_probabilities_nothing_is_stated() -> None:
    top = [{"token": "wool", "logprob": -0.1}, {"token": "silk", "logprob": -2.5}]
    logprobs = {"content": [{"token": "wool", "logprob": -0.1, "top_logprobs": top}]}
    answers, found = answers_of(says("wool", logprobs=logprobs))
    assert found == Capabilities()
    assert all(answer.probs is not None and answer.stated is None for answer in answers)


@pytest.mark.parametrize(
    ("raw", "confidence"),
    [
        ('{"label": "wool", "confidence": 83}', 0.83),
        ('{"label": "wool", "confidence": "83 %"}', 0.83),
        ('{"confidence": 0.7, "label": "wool"}', 0.7),
        ('{"label": "wool", "confidence": 1}', 0.01),
        ('{"label": "wool", "confidence": 100}', 1.0),
        ('{"label": "wool", "confidence": 400}', None),
        ('{"label": "wool", "confidence": "high"}', None),
        ('<think>"confidence": 10}</think>{"label": "wool", "confidence": 60}', 0.6),
        ('{"label": "wool"}', None),
        ("wool", None),
    ],
)
def test_a_stated_confidence_is_read(raw: str, confidence: float | None) -> None:
    assert read_confidence(raw) == confidence
    assert read_answer(raw, LABELS) == 0
