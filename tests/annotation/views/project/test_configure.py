from __future__ import annotations

import re
from typing import Any, get_args

import pytest
from django.test import Client

from annotation.models import Iteration, Project
from annotation.pipeline.project import configure
from annotation.pipeline.project.default_prompts import use_corpus_language
from mlcore.config import LlmConfig, Method
from tests.support.configuring import make_empty
from tests.support.factories import make_project, make_user
from tests.support.pages import Cast, judge_rows, make_cast, one_line

pytestmark = pytest.mark.django_db

TOKEN = "hf_secret_token_9876"
CSV = "id,text,label\n1,a fine film,good\n2,a poor film,bad\n3,fine again,good\n"


@pytest.fixture
def owner() -> Client:
    client = Client()
    client.force_login(make_user())
    return client


# --- Task -------------------------------------------------------------------------------------------------------------


def test_a_project_begins_with_a_name_and_a_task(owner: Client) -> None:
    project = make_empty(owner)
    assert project.task_type == "topic"
    assert project.memberships.get().role == "owner"
    assert project.prompt == project.task.default_prompt


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"name": "", "task_type": "topic"},
        {"name": "x", "task_type": "poetry"},
        {"name": "x" * 121, "task_type": "topic"},
    ],
)
def test_a_project_without_a_name_or_with_an_unknown_task_is_not_made(
    owner: Client, data: dict[str, str]
) -> None:
    answer = owner.post("/projects/new/", data)
    assert answer.status_code == 400
    assert 'class="errorlist' in answer.content.decode()
    assert not Project.objects.exists()


def test_the_task_stays_once_a_round_was_started() -> None:
    cast = make_cast()
    judge_rows(cast.project)
    answer = cast.client("owner").post(
        cast.url("configure/task/"), {"name": "New name", "task_type": "tabular"}
    )
    assert answer.status_code == 400
    assert "Create a new project for another task" in answer.content.decode()


def test_configuration_goes_on_where_it_was_left(owner: Client) -> None:
    project = make_empty(owner)
    where = f"/projects/{project.pk}/configure/"
    assert owner.get(where)["Location"] == f"{where}data/"
    project.samples.create(position=0, text="a", fields=["a"], content_hash="0")
    assert owner.get(where)["Location"] == f"{where}labels/"
    configure.set_labels(project, [configure.LabelDraft("a"), configure.LabelDraft("b")])
    assert owner.get(where)["Location"] == f"{where}prompt/"


def test_prompt_and_models_are_ticked_once_they_were_saved(owner: Client) -> None:
    project = make_empty(owner)
    project.samples.create(position=0, text="a", fields=["a"], content_hash="0")
    configure.set_labels(project, [configure.LabelDraft("a"), configure.LabelDraft("b")])
    where = f"/projects/{project.pk}/configure/"

    def ticked() -> int:
        return one_line(owner.get(f"{where}start/").content.decode()).count(
            '<li class="done"><a href="' + where
        )

    assert ticked() == 3
    configure.set_prompt(project, **project.prompt.blocks)
    assert (ticked(), owner.get(where)["Location"]) == (4, f"{where}models/")
    configure.set_slm(project, config=project.distill_config, chain_stages=True)
    assert (ticked(), owner.get(where)["Location"]) == (5, f"{where}start/")


# --- Prompt -----------------------------------------------------------------------------------------------------------


def test_the_preview_shows_real_rows_as_the_model_will_read_them() -> None:
    cast = make_cast()
    blocks = {
        "description": "Labels: {labels}",
        "demonstration": "{demonstrations}",
        "output": "Q: {content} <b>",
    }
    html = cast.client("owner").post(cast.url("configure/prompt/preview/"), blocks).content.decode()
    assert "Q: a warm and clever film, number 0 &lt;b&gt;" in html
    assert "positive" in html


def test_the_preview_says_what_is_wrong_as_it_is_typed_and_stores_nothing() -> None:
    cast = make_cast()
    before = cast.project.prompt_output
    html = (
        cast.client("owner")
        .post(cast.url("configure/prompt/preview/"), {"description": "x", "output": "no place"})
        .content.decode()
    )
    assert "{content}" in html
    assert 'class="note error"' in html
    cast.project.refresh_from_db()
    assert cast.project.prompt_output == before


def test_a_prompt_that_cant_work_is_not_stored() -> None:
    cast = make_cast()
    answer = cast.client("owner").post(
        cast.url("configure/prompt/"), {"description": "x", "demonstration": "", "output": "no place"}
    )
    assert answer.status_code == 400
    cast.project.refresh_from_db()
    assert "{content}" in cast.project.prompt_output


def test_a_word_in_braces_that_is_no_placeholder_is_told_and_stored() -> None:
    cast, data = (
        make_cast(),
        {"description": "{labels}", "demonstration": "", "output": '{content} {text} {"a": 1}'},
    )
    client = cast.client("owner")
    sentence = "{text} is not a placeholder of CORAL; it is sent to the model as is."
    assert sentence in client.post(cast.url("configure/prompt/preview/"), data).content.decode()
    assert sentence in client.post(cast.url("configure/prompt/"), data, follow=True).content.decode()
    cast.project.refresh_from_db()
    assert cast.project.prompt_output == data["output"]


def test_placeholders_are_filled_in_one_pass_and_reach_no_attribute() -> None:
    cast = make_cast()
    cast.project.samples.filter(position=0).update(text="{labels} {demonstrations} {content.__class__}")
    blocks = {
        "description": "{labels} {labels.__class__} {0} %s {{x}}",
        "demonstration": "{demonstrations}",
        "output": "{content}",
    }
    html = cast.client("owner").post(cast.url("configure/prompt/preview/"), blocks).content.decode()
    assert "{labels} {demonstrations} {content.__class__}" in html
    assert "LabelSet" not in html


# --- Models -----------------------------------------------------------------------------------------------------------


def settings_of(cast: Cast, **changed: Any) -> dict[str, Any]:
    from annotation.forms.models import ModelsForm

    return {
        name: value
        for name, value in (ModelsForm.initial_of(cast.project) | changed).items()
        if value is not None
    }


def save(cast: Cast, **changed: Any) -> Any:
    return cast.client("owner").post(cast.url("configure/models/"), settings_of(cast, **changed))


@pytest.mark.parametrize("method", get_args(Method))
def test_every_method_of_the_engine_can_be_chosen(method: str) -> None:
    cast = make_cast()
    assert save(cast, method=method)["Location"] == cast.url("configure/start/")
    cast.project.refresh_from_db()
    assert cast.project.distill_config.method == method


@pytest.mark.parametrize(
    ("chosen", "offered"),
    [("coral", ["coral", "paper", "plain"]), ("adamatch", ["coral", "paper", "plain", "adamatch"])],
)
def test_the_methods_stand_in_plain_sight(chosen: str, offered: list[str]) -> None:
    cast = make_cast()
    save(cast, method=chosen)
    page = cast.client("owner").get(cast.url("configure/models/")).content.decode()
    assert re.findall(r'<input type="radio" name="method" value="(\w+)"', page) == offered
    shown = re.sub(r"<details.*?</details>", "", page, flags=re.DOTALL)
    assert re.findall(r'name="method" value="(\w+)"', shown) == offered


def test_a_server_and_its_token_are_stored_and_the_token_is_never_shown_again() -> None:
    cast = make_cast()
    answer = save(
        cast, kind="endpoint", endpoint_model="llama", base_url="http://127.0.0.1:8080/v1", token=TOKEN
    )
    assert answer["Location"] == cast.url("configure/start/")
    cast.project.refresh_from_db()
    assert cast.project.llm_token == TOKEN
    for path in ("models/", "start/"):
        html = cast.client("owner").get(cast.url(f"configure/{path}")).content.decode()
        assert TOKEN not in html
    assert "…9876" in cast.client("owner").get(cast.url("configure/models/")).content.decode()


def test_a_token_that_is_refused_with_the_form_is_not_sent_back() -> None:
    cast = make_cast()
    answer = save(cast, kind="hub", hub_model="no organisation", token=TOKEN)
    assert answer.status_code == 400
    assert TOKEN not in answer.content.decode()


def test_an_empty_token_field_keeps_the_stored_one_and_a_tick_removes_it() -> None:
    cast = make_cast()
    config = LlmConfig(kind="hub", model="org/name")
    configure.set_llm(cast.project, config=config, token=TOKEN)
    save(cast, kind="hub", hub_model="org/name")
    cast.project.refresh_from_db()
    assert cast.project.llm_token == TOKEN
    save(cast, kind="hub", hub_model="org/name", forget_token="on")
    cast.project.refresh_from_db()
    assert cast.project.llm_token == ""


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"kind": "hub", "hub_model": ""}, "Enter the name of the model"),
        ({"kind": "hub", "hub_model": "../../etc/passwd"}, "organisation/model"),
        ({"kind": "endpoint", "endpoint_model": "m", "base_url": "file:///etc/passwd"}, "is not an address"),
        (
            {"kind": "endpoint", "endpoint_model": "m", "base_url": "http://user:pw@host/v1"},
            "no name or password",
        ),
        ({"kind": "endpoint", "endpoint_model": "m", "base_url": "http://[::1"}, "is not an address"),
        ({"epochs": 3, "warmup_epochs": 3}, "leave none of the 3"),
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"kind": "carrier pigeon"}, "not one of the available choices"),
    ],
)
def test_wrong_settings_get_a_sentence_and_change_nothing(changed: dict[str, Any], sentence: str) -> None:
    cast = make_cast()
    before = (cast.project.llm_settings, cast.project.slm_settings)
    answer = save(cast, **changed)
    assert answer.status_code == 400
    assert sentence in answer.content.decode()
    cast.project.refresh_from_db()
    assert (cast.project.llm_settings, cast.project.slm_settings) == before


# --- Start ------------------------------------------------------------------------------------------------------------


def test_starting_makes_one_round_however_often_it_is_clicked() -> None:
    cast = make_cast()
    for _click in range(2):
        assert cast.client("owner").post(cast.url("configure/start/"))["Location"] == cast.url("labeling/")
    assert Iteration.objects.get().started_from == "llm"


def test_what_is_missing_is_said_and_the_button_is_not_there() -> None:
    project = make_project(rows=3, owner=make_user())
    client = Client()
    client.force_login(project.owner)
    html = client.get(f"/projects/{project.pk}/configure/start/").content.decode()
    assert "has 3 rows; the SLM needs at least 10" in html
    assert "Start LLM labeling" not in html
    answer = client.post(f"/projects/{project.pk}/configure/start/", follow=True)
    assert "needs at least 10" in answer.content.decode()
    assert not Iteration.objects.exists()


def test_a_corpus_in_another_script_gets_a_warning() -> None:
    cast = make_cast()
    cast.project.samples.update(text="这个产品很好，价格也合适，下次还会再买")
    html = cast.client("owner").get(cast.url("configure/start/")).content.decode()
    assert "the built-in language model knows only English" in html


def test_saving_the_untouched_prompt_as_a_browser_sends_it_changes_nothing() -> None:
    project = make_project(owner=make_user())
    before = project.prompt
    as_sent = {name: text.replace("\n", "\r\n") for name, text in before.blocks.items()}
    configure.set_prompt(project, **as_sent)
    project.refresh_from_db()
    assert project.prompt == before
    assert "\n" in before.output


@pytest.mark.parametrize(("text", "is_chinese"), [("送餐很快，味道也好", True), ("a fine film", False)])
def test_a_chinese_corpus_is_asked_about_in_chinese_whoever_reads_the_pages(
    text: str, is_chinese: bool
) -> None:
    cast = make_cast()
    cast.project.samples.update(text=text)
    lines = {
        "labels-TOTAL_FORMS": "2",
        "labels-INITIAL_FORMS": "0",
        "labels-0-name": "good",
        "labels-1-name": "bad",
    }
    answer = cast.client("owner").post(cast.url("configure/labels/"), lines | {"next": "models"})
    assert answer.headers["Location"] == cast.url("configure/models/")
    cast.project.refresh_from_db()
    assert (cast.project.prompt == cast.project.task.default_prompt) != is_chinese
    assert (
        "文本" in cast.project.prompt.description or "情感" in cast.project.prompt.description
    ) == is_chinese


def test_a_prompt_that_somebody_saved_stays_in_its_language() -> None:
    cast = make_cast()
    cast.project.samples.update(text="送餐很快，味道也好")
    configure.set_prompt(cast.project, **cast.project.prompt.blocks)
    use_corpus_language(cast.project)
    assert cast.project.prompt == cast.project.task.default_prompt
