"""The pages of a project's further language models."""

from __future__ import annotations

from typing import Any

import pytest

from annotation.forms.llm import FurtherLlmForm
from annotation.jobs.work import run_stage
from annotation.models import Connection, Iteration, Stage
from tests.support.factories import make_project, make_user
from tests.support.fake_llm import fake_llm, says
from tests.support.pages import Cast, judge_rows, make_cast, one_line

pytestmark = pytest.mark.django_db(transaction=True)

ADD = "configure/connections/new/"


def typed(cast: Cast, **changed: Any) -> dict[str, Any]:
    values = (
        FurtherLlmForm.initial_of(Connection(project=cast.project)) | {"name": "second opinion"} | changed
    )
    return {name: value for name, value in values.items() if value is not None}


def test_a_further_model_is_added_by_a_preset_and_its_token_is_not_shown() -> None:
    cast = make_cast()
    client = cast.client("owner")
    html = client.post(cast.url(ADD), typed(cast, preset="openai")).content.decode()
    assert 'value="https://api.openai.com/v1"' in html
    assert not Connection.objects.exists()
    fields = {
        "kind": "endpoint",
        "endpoint_model": "m",
        "base_url": "http://127.0.0.1:9/v1",
        "token": "sk-secret-12345",
    }
    answer = client.post(cast.url(ADD), typed(cast, **fields), follow=True)
    assert "second opinion" in answer.content.decode()
    further = Connection.objects.get()
    assert further.llm_token == "sk-secret-12345"
    page = client.get(cast.url(f"configure/connections/{further.pk}/")).content.decode()
    assert "sk-secret" not in page
    assert "…2345" in page
    answer = client.post(cast.url(ADD), typed(cast, **fields))
    assert "There is another LLM named “second opinion”" in answer.content.decode()


def test_a_further_model_is_tested_and_removed() -> None:
    cast = make_cast()
    client = cast.client("owner")
    with fake_llm(says("positive")) as server:
        fields = {"kind": "endpoint", "endpoint_model": "m", "base_url": server.url, "test": "1"}
        answer = client.post(cast.url(ADD), typed(cast, **fields), follow=True)
        assert "waiting for a worker" in answer.content.decode()
        run_stage(Stage.objects.get().pk)
    further = Connection.objects.get()
    page = one_line(client.get(cast.url(f"configure/connections/{further.pk}/")).content.decode())
    assert "<strong>positive</strong>" in page
    cast.project.refresh_from_db()
    assert cast.project.llm_test == {}, "the project's own model was not tested"
    client.post(cast.url(f"configure/connections/{further.pk}/remove/"))
    assert not Connection.objects.exists()


def test_the_next_round_may_ask_it() -> None:
    cast = make_cast()
    judge_rows(cast.project)
    further = Connection.objects.create(
        project=cast.project, name="second opinion", llm_settings=cast.project.llm_settings
    )
    page = cast.client("owner").get(cast.url("review/")).content.decode()
    assert f'<option value="{further.pk}">second opinion</option>' in page
    cast.client("owner").post(cast.url("rounds/start/"), {"started_from": "llm", "connection": further.pk})
    assert Iteration.objects.latest("number").connection == further


def test_a_round_never_asks_the_model_of_another_project() -> None:
    cast = make_cast()
    judge_rows(cast.project)
    other = make_project(rows=10, owner=make_user("stranger's friend"))
    theirs = Connection.objects.create(project=other, name="theirs")
    cast.client("owner").post(cast.url("rounds/start/"), {"started_from": "llm", "connection": theirs.pk})
    assert Iteration.objects.filter(project=cast.project).count() == 1
