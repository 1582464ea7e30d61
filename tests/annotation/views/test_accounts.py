"""Signing up, logging in, passwords."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.test import Client

from annotation.models import OneTimePassword
from annotation.views import accounts
from annotation.views.password_limit import TRIES_A_MINUTE, PasswordLimit
from tests.support.factories import make_user
from tests.support.pages import Cast, make_cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def test_signing_up_is_closed_unless_the_operator_opens_it(settings: Any) -> None:
    assert Client().get("/signup/").status_code == 404
    assert Client().post("/signup/", {"username": "eve"}).status_code == 404
    settings.SIGNUP_OPEN = True
    data = {
        "username": "eve",
        "password1": "correct horse battery",
        "password2": "correct horse battery",
        "is_staff": "on",
    }
    assert Client().post("/signup/", data)["Location"] == "/"
    assert not User.objects.get(username="eve").is_staff


def test_a_wrong_password_and_an_unknown_name_get_the_same_answer() -> None:
    make_user("eve")
    texts = []
    for name in ("eve", "nobody"):
        answer = Client().post("/login/", {"username": name, "password": "wrong"})
        texts.append(re.findall(r'class="note error"[^>]*><span>(.*?)</span>', answer.content.decode()))
    assert texts[0] == texts[1] != []


def test_a_one_time_password_opens_nothing_but_the_page_that_changes_it() -> None:
    eve = make_user("eve")
    OneTimePassword.objects.create(user=eve, password=eve.password)
    data = {"username": "eve", "password": "correct horse battery"}
    for _login in range(2):
        client = Client()
        assert client.post("/login/", data)["Location"] == "/password/"
        assert client.get("/")["Location"] == "/password/"
        assert client.get("/password/").status_code == 200
    new = {"new_password1": "another horse battery", "new_password2": "another horse battery"}
    assert client.post("/password/", {"old_password": data["password"]} | new)["Location"] == "/"
    assert client.get("/").status_code == 200
    data["password"] = "another horse battery"
    assert Client().post("/login/", data)["Location"] == "/"


def test_a_password_that_a_person_chose_is_never_called_one_time() -> None:
    make_user("eve")
    data = {"username": "eve", "password": "correct horse battery"}
    assert Client().post("/login/", data)["Location"] == "/"


def test_a_user_name_of_megabytes_is_neither_stored_nor_sent_back() -> None:
    answer = Client().post("/login/", {"username": "x" * 2_000_000, "password": "wrong"})
    assert answer.status_code == 200
    assert len(answer.content) < 20_000
    assert not AccessAttempt.objects.exists()


def test_a_loop_over_names_from_one_address_is_stopped_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accounts, "PASSWORDS", PasswordLimit())
    tries = [
        Client()
        .post("/login/", {"username": f"name{number}", "password": "wrong"}, REMOTE_ADDR="10.0.0.9")
        .status_code
        for number in range(TRIES_A_MINUTE + 1)
    ]
    assert tries == [200] * TRIES_A_MINUTE + [429]
    make_user("eve")
    data = {"username": "eve", "password": "correct horse battery"}
    assert Client().post("/login/", data, REMOTE_ADDR="10.0.0.8")["Location"] == "/"


def test_a_stolen_session_can_not_try_old_passwords_without_end(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "PASSWORDS", PasswordLimit())
    client = cast.client("viewer")
    tries = [
        client.post("/password/", {"old_password": "wrong"}).status_code for _ in range(TRIES_A_MINUTE + 1)
    ]
    assert tries == [200] * TRIES_A_MINUTE + [429]


def test_logging_in_leads_on_and_never_to_another_site() -> None:
    make_user("eve")
    for following, where in (("/projects/new/", "/projects/new/"), ("https://evil.test/", "/")):
        data = {"username": "eve", "password": "correct horse battery", "next": following}
        assert Client().post("/login/", data)["Location"] == where


def test_too_many_wrong_passwords_lock_with_a_page_in_our_words(settings: Any) -> None:
    settings.AXES_FAILURE_LIMIT = 2
    make_user("eve")
    for _attempt in range(2):
        answer = Client().post("/login/", {"username": "eve", "password": "wrong"})
    assert answer.status_code == 429
    assert "Too many attempts" in answer.content.decode()


def test_changing_the_password_needs_the_old_one(cast: Cast) -> None:
    new = {"new_password1": "another horse battery", "new_password2": "another horse battery"}
    client = cast.client("viewer")
    assert client.post("/password/", {"old_password": "wrong"} | new).status_code == 200
    assert client.post("/password/", {"old_password": "correct horse battery"} | new)["Location"] == "/"
    assert client.get("/").status_code == 200


def test_what_is_not_there_and_what_is_hidden_look_the_same(cast: Cast) -> None:
    def seen(path: str) -> str:
        html = cast.client("stranger").get(path).content.decode()
        return re.sub(
            r'nonce="[^"]*"|X-CSRFToken": "[^"]*"|name="csrfmiddlewaretoken" value="[^"]*"', "", html
        )

    assert seen(cast.url("review/")) == seen("/projects/999999/review/")
