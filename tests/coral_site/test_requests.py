"""What a request may do to the machine, and what it gets while the database is not there for it."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from django.db import OperationalError
from django.test import Client
from django.urls import reverse

from annotation.models import Correction
from coral_site import body_limit
from coral_site.asgi import application
from tests.support.pages import Cast, judge_rows, make_cast

pytestmark = pytest.mark.django_db(transaction=True)

BLOCK = b"x" * 2**20


@pytest.fixture
def cast() -> Cast:
    cast = make_cast()
    judge_rows(cast.project)
    return cast


async def post(client: Client, path: str, *, blocks: int, length: bytes = b"") -> int:
    """The status of a request that sends so many megabytes piece by piece, and says nothing, or this, of its length."""
    cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
    headers = [
        (b"host", b"localhost"),
        (b"cookie", cookie.encode()),
        (b"content-type", b"multipart/form-data; boundary=b"),
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [*headers, *([(b"content-length", length)] if length else [])],
    }
    communicator: Any = ApplicationCommunicator
    server = communicator(application, scope)
    for number in range(blocks):
        await server.send_input({"type": "http.request", "body": BLOCK, "more_body": number < blocks - 1})
    answer = await server.receive_output(10)
    await server.wait(10)
    return int(answer["status"])


def test_a_body_is_cut_off_at_what_a_form_may_hold_whatever_it_says_of_its_length(cast: Cast) -> None:
    most = body_limit.FORM_BYTES // 2**20
    send = async_to_sync(post)
    assert send(Client(), "/login/", blocks=1) == 403, "no CSRF token: it came through"
    assert send(Client(), "/login/", blocks=most + 2) == 413
    assert send(Client(), "/login/", blocks=most + 2, length=b"10") == 413
    assert send(Client(), "/login/", blocks=1, length=str(2**40).encode()) == 413


def test_who_sends_too_much_is_told_in_their_language() -> None:
    async def refused(language: bytes) -> str:
        headers = [(b"content-length", str(2**40).encode()), (b"accept-language", language)]
        scope = {"type": "http", "method": "POST", "path": "/login/", "query_string": b"", "headers": headers}
        communicator: Any = ApplicationCommunicator
        server = communicator(application, scope)
        await server.receive_output(10)
        return str((await server.receive_output(10))["body"].decode())

    send = async_to_sync(refused)
    assert send(b"en").startswith("The request is larger than 16 MB")
    assert send(b"zh-CN").startswith("请求超过 16 MB")


def test_files_are_taken_from_owners_of_the_project_only(cast: Cast, settings: Any) -> None:
    settings.UPLOAD_MAX_MB = 1
    path = reverse("annotation:upload_file", args=[cast.project.pk])
    form, files = body_limit.FORM_BYTES // 2**20, body_limit.FILES
    send = async_to_sync(post)
    assert send(cast.client("owner"), path, blocks=form + files - 1) == 403, "no CSRF token: it came through"
    assert send(cast.client("owner"), path, blocks=form + files + 2) == 413
    for nobody in (Client(), cast.client("stranger"), cast.client("reviewer")):
        assert send(nobody, path, blocks=form + 2) == 413


def locked() -> OperationalError:
    cause = sqlite3.OperationalError("database is locked")
    cause.sqlite_errorname = "SQLITE_BUSY"
    return raised_from(cause)


def raised_from(cause: Exception) -> OperationalError:
    error = OperationalError(str(cause))
    error.__cause__ = cause
    return error


def correct(cast: Cast, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Any:
    def fail(*_arguments: Any, **_named: Any) -> None:
        raise error

    monkeypatch.setattr("annotation.pipeline.review.corrections._record", fail)
    client = cast.client("reviewer")
    client.raise_request_exception = False
    sample, label = cast.project.samples.get(position=0), cast.project.label_list()[1]
    path = cast.url(f"samples/{sample.pk}/correct/")
    return client.post(
        path, {"label": label.pk, "version": 0, "because": "queue"}, headers={"hx-request": "true"}
    )


def test_a_database_that_is_busy_for_too_long_is_said_in_a_sentence(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = correct(cast, monkeypatch, locked())
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert "Your last change was not saved; try again" in answer.content.decode()
    assert not Correction.objects.exists()


def test_a_full_disk_is_said_in_a_sentence(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    cause = sqlite3.OperationalError("database or disk is full")
    cause.sqlite_errorname = "SQLITE_FULL"
    answer = correct(cast, monkeypatch, raised_from(cause))
    assert answer.status_code == 503
    assert "The disk is full" in answer.content.decode()


def test_a_wrong_statement_stays_a_fault(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    cause = sqlite3.OperationalError("no such column: colour")
    cause.sqlite_errorname = "SQLITE_ERROR"
    assert correct(cast, monkeypatch, raised_from(cause)).status_code == 500
