"""Where a call goes, and what its head and body hold besides the usual."""

from __future__ import annotations

import pytest

from mlcore.config import LlmConfig
from mlcore.llm.endpoint.client import EndpointModel
from mlcore.llm.endpoint.guard import chat_url
from mlcore.records import LabelSet, Prompt, Request
from tests.support.fake_llm import Call, fake_llm, says


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("http://h", "http://h/v1/chat/completions"),
        ("http://h/llm/", "http://h/llm/v1/chat/completions"),
        ("http://h/v1", "http://h/v1/chat/completions"),
        ("http://h/api/paas/v4/", "http://h/api/paas/v4/chat/completions"),
        ("http://h/v1beta/openai/", "http://h/v1beta/openai/chat/completions"),
        ("http://h/api/v3/chat/completions", "http://h/api/v3/chat/completions"),
        (
            "http://h/openai/deployments/d?api-version=1",
            "http://h/openai/deployments/d/chat/completions?api-version=1",
        ),
    ],
)
def test_an_address_with_a_version_is_used_as_it_is(address: str, url: str) -> None:
    assert chat_url(address) == url


def call_of(path: str, **settings: object) -> Call:
    headers = settings.pop("headers", None)
    with fake_llm(says("a")) as server:
        config = LlmConfig(kind="endpoint", model="m", base_url=server.url + path, **settings)  # type: ignore[arg-type]
        model = EndpointModel(config, token="t0ken", allowed_hosts=["127.0.0.1"], headers=headers)  # type: ignore[arg-type]
        list(model.ask([Request(1, Prompt("", "x"))], LabelSet.of("a", "b"), should_stop=lambda: False))
        model.close()
    return server.calls[0]


def test_extra_headers_and_parameters_go_with_every_call() -> None:
    call = call_of("", headers={"X-Org": "7"}, extra_body='{"seed": 3, "temperature": 0.5}')
    assert (call.headers["x-org"], call.headers["authorization"]) == ("7", "Bearer t0ken")
    assert (call.json["seed"], call.json["temperature"]) == (3, 0.5)


def test_an_address_of_azures_gets_the_token_as_a_key() -> None:
    call = call_of("/openai/deployments/d?api-version=2024-10-21")
    assert call.path == "/openai/deployments/d/chat/completions?api-version=2024-10-21"
    assert call.headers["api-key"] == "t0ken"


def test_a_header_of_the_users_stands_in_place_of_ours() -> None:
    assert call_of("", headers={"authorization": "Basic eA=="}).headers["authorization"] == "Basic eA=="
