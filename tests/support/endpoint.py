"""A client of the scripted server, and what it answers for a few rows."""

from __future__ import annotations

from typing import Any

from mlcore.config import LlmConfig
from mlcore.llm.endpoint.client import EndpointModel
from mlcore.records import Answer, LabelSet, Prompt, Request
from tests.support.fake_llm import FakeLlm, Step

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


def step_fields(step: Step, **changes: Any) -> dict[str, Any]:
    return {name: getattr(step, name) for name in Step.__slots__} | changes
