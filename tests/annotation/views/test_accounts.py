"""Signing up, logging in, passwords."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

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


def test_the_first_login_leads_to_choosing_a_password() -> None:
    make_user("eve")
    data = {"username": "eve", "password": "correct horse battery"}
    assert Client().post("/login/", data)["Location"] == "/password/"
    assert Client().post("/login/", data)["Location"] == "/"


def test_logging_in_leads_on_and_never_to_another_site() -> None:
    make_user("eve")
    User.objects.update(last_login=timezone.now())
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
