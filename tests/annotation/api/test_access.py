from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from annotation.api import access
from annotation.models import ApiToken
from annotation.views.rate_limit import RateLimit
from tests.support.api import Program
from tests.support.factories import make_user
from tests.support.pages import Cast, make_cast

pytestmark = pytest.mark.django_db


@contextmanager
def another_write() -> Iterator[None]:
    """Another process writes to the database meanwhile."""
    with closing(sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def test_without_a_token_nothing_is_told(cast: Cast) -> None:
    answer = Program(None).get(f"/projects/{cast.project.pk}")
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthorized"
    assert Program(None).post("/projects", {"name": "x", "task_type": "topic"}).status_code == 401


def test_an_unknown_token_is_refused_even_where_the_browser_is_signed_in(cast: Cast) -> None:
    answer = cast.client("owner").get("/api/v1/projects", headers={"authorization": "Bearer coral_x"})
    assert answer.status_code == 401


def test_a_token_sees_what_its_user_sees(cast: Cast) -> None:
    path = f"/projects/{cast.project.pk}"
    assert Program(cast.users["viewer"]).get(path).json()["role"] == "viewer"
    hidden = Program(cast.users["stranger"]).get(path)
    assert (hidden.status_code, hidden.json()["code"]) == (404, "not_found")
    refused = Program(cast.users["viewer"]).send("patch", path, {"name": "Mine"})
    assert refused.status_code == 403
    assert "Owner" in refused.json()["sentence"]


def test_a_token_that_may_read_writes_nothing(cast: Cast) -> None:
    program = Program(cast.users["owner"], scope="read")
    assert program.get("/projects").status_code == 200
    assert program.post(f"/projects/{cast.project.pk}/archive").status_code == 403
    cast.project.refresh_from_db()
    assert cast.project.put_away_at is None


def test_a_token_ends_with_its_time_its_user_and_its_revocation() -> None:
    user = make_user()
    program = Program(user)
    assert program.get("/projects").status_code == 200
    assert ApiToken.objects.get().last_used_at is not None
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert program.get("/projects").status_code == 401
    ApiToken.objects.update(expires_at=None)
    user.is_active = False
    user.save()
    assert program.get("/projects").status_code == 401
    ApiToken.objects.all().delete()
    assert program.get("/projects").status_code == 401


@pytest.mark.django_db(transaction=True)
def test_a_token_reads_while_another_process_writes() -> None:
    program = Program(make_user())
    with another_write():
        assert program.get("/projects").status_code == 200
    assert ApiToken.objects.get().last_used_at is None
    assert program.get("/projects").status_code == 200
    assert ApiToken.objects.get().last_used_at is not None
    with another_write():
        began = time.monotonic()
        assert program.get("/projects").status_code == 200
        assert time.monotonic() - began < 0.9, "its use is noted once a minute, so nothing waits for the lock"


def test_a_session_needs_the_pages_csrf_token(cast: Cast) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.users["owner"])
    assert client.get("/api/v1/projects").status_code == 200
    body = {"name": "Forged", "task_type": "topic"}
    answer = client.post("/api/v1/projects", body, content_type="application/json")
    assert answer.status_code == 403
    client.get("/tokens/")  # sets the cookie
    secret = next(cookie.value for name, cookie in client.cookies.items() if name.endswith("csrf"))
    answer = client.post(
        "/api/v1/projects", body, content_type="application/json", headers={"x-csrftoken": secret}
    )
    assert answer.status_code == 201


def test_a_token_makes_so_many_requests_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "REQUESTS", RateLimit(2))
    program, other = Program(make_user()), Program(make_user("paul"))
    assert [program.get("/projects").status_code for _time in range(3)] == [200, 200, 429]
    refused = program.get("/projects")
    assert 0 < int(refused["Retry-After"]) <= 61
    assert refused["Retry-After"] in refused.json()["sentence"]
    assert other.get("/projects").status_code == 200


def test_the_document_and_its_page_load_nothing_from_elsewhere() -> None:
    client = Client()
    page = client.get("/api/v1/docs")
    assert page.status_code == 200
    assert "script-src 'self'" in page["Content-Security-Policy"]
    assert "//" not in page.content.decode().replace("<!DOCTYPE html>", "")
    assert 'validatorUrl": null' in page.content.decode()
    document = client.get("/api/v1/openapi.json").json()
    assert document["paths"]["/api/v1/projects/{project_id}/rows"]["get"]["responses"]["404"]
