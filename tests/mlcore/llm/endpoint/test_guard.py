"""Which addresses are called."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from mlcore.config import LlmConfig
from mlcore.errors import ModelUnavailableError
from mlcore.llm.endpoint.client import EndpointModel
from mlcore.llm.endpoint.guard import check_address
from mlcore.records import Prompt, Request
from tests.support.endpoint import LABELS, LOCAL, ask, never
from tests.support.fake_llm import fails, fake_llm, says


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
        "http://168.63.129.16/",
        "http://192.88.99.1/",
        "http://[2001:4860::5efe:7f00:1]/",
        "http://[2001:4860::200:5efe:a00:1]/",
        "http://[5f00::1]/",
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
        "64:ff9b:1::808:808",
        "::ffff:0:127.0.0.1",
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


def test_the_hub_is_not_asked_without_a_token() -> None:
    with pytest.raises(ModelUnavailableError, match="token"):
        EndpointModel(LlmConfig(kind="hub", model="a/b"), token="", allowed_hosts=[])
