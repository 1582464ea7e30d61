from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.db import database_sync_to_async
from django.contrib.auth.models import User
from django.test import Client
from uvicorn.protocols.utils import ClientDisconnected

from annotation.jobs import kinds
from annotation.jobs.notify import notify_pages
from annotation.live import consumers
from annotation.models import Membership, Project, Role, Stage
from coral_site.asgi import application
from tests.support.sockets import Socket

pytestmark = pytest.mark.django_db(transaction=True)

in_database = database_sync_to_async


@pytest.fixture
def user() -> User:
    return User.objects.create_user("vera", password="correct horse battery")


@pytest.fixture
def stage(user: User) -> Stage:
    project = Project.objects.create(name="Letters", owner=User.objects.create_user("olga"))
    Membership.objects.create(project=project, user=user, role=Role.VIEWER)
    return Stage.objects.create(
        project=project, kind=kinds.LLM.key, status=Stage.Status.RUNNING, total=100, done=20
    )


@pytest.fixture
def visitor(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def socket_of(client: Client, stage_id: int, *, origin: str = "http://localhost") -> Socket:
    return Socket(client, f"/ws/stages/{stage_id}/", origin=origin)


async def set_done(stage: Stage, done: int) -> None:
    await in_database(Stage.objects.filter(pk=stage.pk).update)(done=done)


async def tell(stage: Stage) -> None:
    await in_database(notify_pages)(stage)


async def test_the_state_comes_at_once_and_again_after_a_change(visitor: Client, stage: Stage) -> None:
    socket = socket_of(visitor, stage.pk)
    assert await socket.connect()
    assert "20 of 100" in await socket.pushed()
    await set_done(stage, 55)
    await tell(stage)
    html = await socket.pushed()
    assert "55 of 100" in html
    assert f'id="stage-{stage.pk}"' in html, "htmx puts it in the place of the element with this id"
    await socket.close()


async def test_what_is_pushed_is_what_the_page_includes(visitor: Client, stage: Stage) -> None:
    socket = socket_of(visitor, stage.pk)
    await socket.connect()
    pushed = await socket.pushed()
    polled = await in_database(visitor.get)(f"/projects/{stage.project_id}/stages/{stage.pk}/")
    assert pushed == polled.content.decode()
    await socket.close()


async def test_many_notifications_are_one_push_and_the_last_state_is_pushed(
    visitor: Client, stage: Stage
) -> None:
    socket = socket_of(visitor, stage.pk)
    await socket.connect()
    await socket.pushed()
    for done in range(21, 61):
        await set_done(stage, done)
        await tell(stage)
    pushed: list[str] = []
    while not pushed or "60 of 100" not in pushed[-1]:
        pushed.append(await socket.pushed())
    assert len(pushed) <= 6, "40 changes within about a second"
    await socket.close()


async def test_a_change_that_nobody_told_is_found(
    visitor: Client, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "POLL_SECONDS", 0.2)
    socket = socket_of(visitor, stage.pk)
    await socket.connect()
    await socket.pushed()
    await set_done(stage, 77)
    assert "77 of 100" in await socket.pushed()
    await socket.close()


async def test_a_row_that_did_not_change_is_not_pushed_again(visitor: Client, stage: Stage) -> None:
    socket = socket_of(visitor, stage.pk)
    await socket.connect()
    await socket.pushed()
    await tell(stage)
    assert await socket.is_silent(1.0)
    await socket.close()


async def test_a_stranger_is_refused_in_a_way_that_stops_the_browser_from_trying_again(stage: Stage) -> None:
    socket = socket_of(Client(), stage.pk)
    assert await socket.connect()
    assert await socket.close_code() == 4403


async def test_another_projects_stage_looks_like_one_that_is_not_there(visitor: Client, user: User) -> None:
    def make_foreign_stage() -> Stage:
        return Stage.objects.create(
            project=Project.objects.create(name="Secret", owner=user), kind=kinds.LLM.key
        )

    foreign = await in_database(make_foreign_stage)()
    for stage_id in (foreign.pk, 999_999):
        socket = socket_of(visitor, stage_id)
        await socket.connect()
        assert await socket.close_code() == 4403


async def test_another_sites_page_can_not_connect(visitor: Client, stage: Stage) -> None:
    socket = socket_of(visitor, stage.pk, origin="http://evil.example")
    assert not await socket.connect()


def leave_project(user: User, visitor: Client) -> None:
    Membership.objects.filter(user=user).delete()


def log_out(user: User, visitor: Client) -> None:
    visitor.logout()


def disable(user: User, visitor: Client) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def change_password(user: User, visitor: Client) -> None:
    user.set_password("another horse battery")
    user.save()


@pytest.mark.parametrize("end_access", [leave_project, log_out, disable, change_password])
async def test_who_may_not_see_it_any_longer_gets_no_further_push(
    visitor: Client, user: User, stage: Stage, end_access: Any
) -> None:
    socket = socket_of(visitor, stage.pk)
    await socket.connect()
    await socket.pushed()
    await in_database(end_access)(user, visitor)
    await set_done(stage, 99)
    await tell(stage)
    assert await socket.close_code() == 4403


async def test_an_error_closes_the_socket_so_that_the_page_connects_again(
    visitor: Client, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = socket_of(visitor, stage.pk)
    await socket.connect()
    await socket.pushed()

    def fail(*_: object) -> None:
        raise ValueError("broken template")

    monkeypatch.setattr(consumers, "render_to_string", fail)
    await tell(stage)
    assert await socket.close_code() == 1011


async def test_a_page_that_has_gone_is_no_error(
    visitor: Client, stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="annotation.live.consumers")
    socket = socket_of(visitor, stage.pk)
    await socket.connect()
    await socket.pushed()

    async def fail_as_uvicorn(*_: object, **__: object) -> None:
        raise ClientDisconnected

    monkeypatch.setattr(consumers.StageConsumer, "send", fail_as_uvicorn)
    await set_done(stage, 33)
    await tell(stage)
    assert await socket.is_silent(1.0)
    await socket.close()
    assert [
        (line.levelname, line.message) for line in caplog.records if line.name == "annotation.live.consumers"
    ] == [("DEBUG", f"The page that followed stage.{stage.pk} is gone.")]


async def test_many_open_pages_all_see_the_change(visitor: Client, stage: Stage) -> None:
    sockets = [socket_of(visitor, stage.pk) for _ in range(10)]
    for socket in sockets:
        await socket.connect()
        await socket.pushed()
    await set_done(stage, 42)
    await tell(stage)
    pushed = await asyncio.gather(*(socket.pushed() for socket in sockets))
    assert all("42 of 100" in html for html in pushed)
    for socket in sockets:
        await socket.close()


async def test_an_address_that_is_not_there_is_answered_with_404_and_no_error() -> None:
    socket: Any = ApplicationCommunicator
    headers = [(b"host", b"localhost"), (b"origin", b"http://localhost")]
    server = socket(
        application, {"type": "websocket", "path": "/ws/nothing/", "headers": headers, "query_string": b""}
    )
    await server.send_input({"type": "websocket.connect"})
    answer = await server.receive_output(5)
    assert answer == {"type": "websocket.http.response.start", "status": 404, "headers": []}
    await server.wait(5)
