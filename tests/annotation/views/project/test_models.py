"""The page of both models: presets, the test of the connection, and what it says of what is missing."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from annotation.jobs.work import run_stage
from annotation.models import AllowedHost, Stage
from annotation.pipeline.project import configure
from annotation.pipeline.project.presets import presets
from mlcore.config import LlmConfig
from mlcore.llm.endpoint.guard import chat_url, check_address
from tests.support.dialects import refuses
from tests.support.fake_llm import Call, FakeLlm, Step, fails, fake_llm, says
from tests.support.pages import Cast, make_cast, one_line

pytestmark = pytest.mark.django_db(transaction=True)


def typed(cast: Cast, **changed: Any) -> dict[str, Any]:
    from annotation.forms.models import ModelsForm

    values = ModelsForm.initial_of(cast.project) | changed
    return {name: value for name, value in values.items() if value is not None}


def post(cast: Cast, **changed: Any) -> Any:
    return cast.client("owner").post(cast.url("configure/models/"), typed(cast, **changed), follow=True)


def page_of(cast: Cast) -> str:
    return one_line(cast.client("owner").get(cast.url("configure/models/")).content.decode())


# --- Presets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", presets())
def test_every_preset_has_an_address_that_can_be_called(key: str) -> None:
    preset = presets()[key]
    assert preset.told is not None
    if preset.base_url:
        check_address(preset.base_url, ["*", "127.0.0.1"])
        assert re.search(r"/(v\d+\w*|openai)/chat/completions$", chat_url(preset.base_url))
    if preset.price_in:
        assert 0 < float(preset.price_in) <= float(preset.price_out)
        assert preset.currency
        assert preset.priced_at


def test_a_preset_fills_the_fields_and_keeps_what_else_was_typed() -> None:
    cast = make_cast()
    html = one_line(post(cast, preset="deepseek", demonstrations=5, epochs=17).content.decode())
    for shown in (
        'value="https://api.deepseek.com/v1"',
        'value="deepseek-chat"',
        'value="0.28"',
        'value="17"',
    ):
        assert shown in html
    assert "DEEPSEEK_API_KEY" in html
    assert "Suggested prices, noted in 2025-11: 0.28 and 0.42 USD" in html
    assert re.search(r'value="deepseek" formnovalidate aria-pressed="true"', html)
    cast.project.refresh_from_db()
    assert cast.project.llm_config.kind == "local", "nothing is stored before it is saved"


def test_the_token_of_another_server_is_not_shown_for_a_preset() -> None:
    cast = make_cast()
    configure.set_llm(cast.project, config=LlmConfig(kind="hub", model="a/b"), token="hf_secret_token_9876")
    assert "…9876" in page_of(cast)
    assert "…9876" not in post(cast, preset="openai").content.decode()


# --- Allowed hosts ----------------------------------------------------------------------------------------------------


def test_the_page_says_that_a_host_is_not_allowed_and_where_it_is_allowed(settings: Any) -> None:
    cast = make_cast()
    html = post(cast, preset="deepseek").content.decode()
    assert "The host “api.deepseek.com” is not allowed" in html
    assert "An administrator adds it" in html
    User.objects.update(is_staff=True)
    html = post(cast, preset="deepseek").content.decode()
    assert 'href="/admin/annotation/allowedhost/add/?host=api.deepseek.com"' in html
    settings.LLM_HOSTS_ARE_FIXED = True
    assert "CORAL_LLM_ALLOWED_HOSTS" in post(cast, preset="deepseek").content.decode()


def test_a_host_that_an_administrator_allows_counts_at_once() -> None:
    cast, client = make_cast(), Client()
    client.force_login(User.objects.create_superuser("root"))
    client.post("/admin/annotation/allowedhost/add/", {"host": "https://API.deepseek.com/v1", "note": ""})
    assert AllowedHost.objects.get().host == "api.deepseek.com"
    assert "is not allowed" not in post(cast, preset="deepseek").content.decode()


@pytest.mark.parametrize("host", ["two words", "user@host", "host/path", "", "a..b"])
def test_what_is_no_host_is_refused_with_a_sentence(host: str) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    answer = client.post("/admin/annotation/allowedhost/add/", {"host": host, "note": ""})
    assert ("is no host" in answer.content.decode()) or not host
    assert not AllowedHost.objects.exists()


def test_the_environment_is_the_upper_bound(settings: Any) -> None:
    AllowedHost.objects.create(host="api.deepseek.com")
    settings.LLM_HOSTS_ARE_FIXED = True
    cast, client = make_cast(), Client()
    assert "is not allowed" in post(cast, preset="deepseek").content.decode()
    client.force_login(User.objects.create_superuser("root"))
    answer = client.post("/admin/annotation/allowedhost/add/", {"host": "api.openai.com", "note": ""})
    assert "CORAL_LLM_ALLOWED_HOSTS is set" in answer.content.decode()
    assert AllowedHost.objects.count() == 1


def test_saving_stays_on_the_page_where_something_is_missing() -> None:
    cast = make_cast()
    answer = post(cast, kind="hub", hub_model="org/name")
    assert answer.redirect_chain[-1][0] == cast.url("configure/models/")
    assert "needs a token" in answer.content.decode()


def test_too_few_rows_are_told_where_rows_are_added_and_the_last_step_leads_there() -> None:
    cast = make_cast(rows=3)
    assert "The corpus has 3 rows" in cast.client("owner").get(cast.url("configure/data/")).content.decode()
    last = cast.client("owner").get(cast.url("configure/start/")).content.decode()
    assert f'<a href="{cast.url("configure/data/")}">change</a>' in last.split("The corpus has 3 rows")[1]


# --- The test of a connection -----------------------------------------------------------------------------------------


def run_test(cast: Cast, server: FakeLlm, **changed: Any) -> str:
    """Click “Test connection”, let the worker do it, and return the page."""
    fields = {"kind": "endpoint", "endpoint_model": "m", "base_url": f"{server.url}/v1", "test": "1"}
    html = post(cast, **(fields | changed)).content.decode()
    assert "Asking the server" in html or "waiting for a worker" in html
    run_stage(Stage.objects.latest("pk").pk)
    return page_of(cast)


def serves(call_models: list[str], script: Any) -> Any:
    def play(number: int, call: Call) -> Step:
        if call.path.endswith("/models"):
            return Step(body=json.dumps({"data": [{"id": name} for name in call_models]}).encode())
        step: Step = script(number, call) if callable(script) else script
        return step

    return play


def test_a_test_shows_the_answer_its_price_and_what_the_server_takes() -> None:
    cast = make_cast()

    def script(_number: int, call: Call) -> Step:
        if "temperature" in call.json:
            return refuses(400, "Only the default temperature is supported", param="temperature")
        return says("positive")

    with fake_llm(serves(["m", "large-model"], script)) as server:
        html = run_test(cast, server, price_in=2.0, price_out=8.0, token="sk-secret")
    assert Stage.objects.get().status == "done"
    for shown in ("works", "<strong>positive</strong>", "40 / 3", "a schema that allows the labels only"):
        assert shown in html
    assert "0.0001" in html
    assert "about 0.1040 per 1,000 rows" in html
    assert "The test took 2 calls" in html
    assert '<option value="large-model">' in html
    assert (
        "max_tokens</dd>" in html.replace(" ", "").replace("max_tokens", "max_tokens") or "max_tokens" in html
    )
    cast.project.refresh_from_db()
    assert cast.project.llm_capabilities["capabilities"]["temperature"] is False
    assert "sk-secret" not in html


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        (
            fails(401, '{"error": {"message": "Incorrect API key provided"}}'),
            "The server refused the token (401)",
        ),
        (
            fails(404, '{"error": {"message": "The model m does not exist"}}'),
            "The server has no such model (404)",
        ),
        (
            fails(429, '{"error": {"code": "insufficient_quota", "message": "You exceeded your quota"}}'),
            "The account has no credit or quota left (429)",
        ),
    ],
)
def test_a_failure_is_kept_with_a_sentence_and_the_servers_words(step: Step, sentence: str) -> None:
    cast = make_cast()
    with fake_llm(serves(["other-model"], step)) as server:
        html = run_test(cast, server)
    assert sentence in html
    assert "The server said: “" in html
    assert "other-model" in html
    assert Stage.objects.get().status == "failed"


def test_a_filtered_row_is_told_and_the_next_one_is_asked() -> None:
    cast = make_cast()
    filtered = refuses(400, "The prompt was filtered", code="content_filter")

    def script(_number: int, call: Call) -> Step:
        return filtered if "number 0" in call.prompt else says("negative")

    with fake_llm(serves([], script)) as server:
        html = run_test(cast, server)
    assert "content filter refused this row." in html
    assert "number 0" in html
    assert "<strong>negative</strong>" in html


def test_a_server_that_is_not_there_is_told() -> None:
    cast = make_cast()
    with fake_llm(says("positive")) as server:
        pass
    html = run_test(cast, server)
    assert "The server can&#x27;t be reached" in html
    assert "/v1" in html


def test_without_a_name_the_test_lists_the_servers_models() -> None:
    cast = make_cast()
    with fake_llm(serves(["qwen3:8b"], says("positive"))) as server:
        html = run_test(cast, server, endpoint_model="")
        assert len(server.calls) == 1
    assert "Enter the name of the model." in html
    assert '<option value="qwen3:8b">' in html


def test_a_test_needs_neither_rows_nor_labels() -> None:
    cast = make_cast()
    cast.project.samples.all().delete()
    with fake_llm(serves([], says("positive"))) as server:
        assert "the coat fits well" in run_test(cast, server)


def test_another_model_or_token_makes_the_result_a_thing_of_the_past() -> None:
    cast = make_cast()
    with fake_llm(serves([], says("positive"))) as server:
        assert "Connection test" in run_test(cast, server)
        post(cast, kind="endpoint", endpoint_model="other", base_url=f"{server.url}/v1")
    assert "Connection test" not in page_of(cast)


def test_a_host_that_is_not_allowed_is_told_before_anything_is_sent() -> None:
    cast = make_cast()
    answer = post(cast, kind="endpoint", endpoint_model="m", base_url="https://api.openai.com/v1", test="1")
    assert "The host “api.openai.com” is not allowed" in answer.content.decode()
    assert not Stage.objects.exists()
