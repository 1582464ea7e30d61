"""The webhook: called once for each change, signed, and never to an address that is not allowed."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from annotation.jobs import kinds
from annotation.jobs.details import PlanDetail
from annotation.jobs.work import run_stage
from annotation.models import Project, Stage
from annotation.pipeline.plan.webhook import webhook_key
from annotation.pipeline.project.goal import set_goal
from mlcore.messages import Message
from tests.support.factories import make_project
from tests.support.pages import judge_rows, make_cast

pytestmark = pytest.mark.django_db


class Receiver(HTTPServer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls: list[tuple[bytes, str]] = []
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.calls.append((body, self.headers["X-Coral-Signature"]))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    with Receiver() as receiver:
        settings.LLM_ALLOWED_HOSTS = [f"127.0.0.1:{receiver.server_port}"]
        thread = threading.Thread(target=receiver.serve_forever)
        thread.start()
        yield receiver
        receiver.shutdown()
        thread.join()


def plan(project: Project, **goal: Any) -> PlanDetail:
    set_goal(project, user=project.owner, **goal)
    Stage.objects.filter(project=project, kind=kinds.PLAN.key).update(status=Stage.Status.QUEUED)
    stage = project.stages.get(kind=kinds.PLAN.key)
    run_stage(stage.pk)
    stage.refresh_from_db()
    assert stage.status == Stage.Status.DONE, stage.error
    return PlanDetail.of(stage)


def test_it_is_called_once_when_people_are_needed(receiver: Receiver) -> None:
    project = make_project(rows=60)
    judge_rows(project)
    for _time in range(2):
        plan(project, autopilot=True, webhook=receiver.url)
    [(body, signature)] = receiver.calls
    told = json.loads(body)
    assert (told["state"], told["rows"], told["name"]) == ("people", 40, "Film notes")
    expected = hmac.new(webhook_key(project).encode(), body, hashlib.sha256).hexdigest()
    assert signature == f"sha256={expected}"


def test_a_refusal_is_kept_as_a_sentence(receiver: Receiver) -> None:
    project = make_project(rows=60)
    judge_rows(project)
    receiver.status = 500
    now = plan(project, autopilot=True, webhook=receiver.url)
    assert str(Message.of(now.not_told)) == "The webhook answered with status 500."


def test_an_address_that_is_not_allowed_is_refused_by_the_form(settings: Any) -> None:
    settings.LLM_ALLOWED_HOSTS = []
    cast = make_cast()
    answer = cast.client("owner").post(cast.url("goal/change/"), {"webhook": "http://127.0.0.1:9/x"})
    assert answer.status_code == 400
    assert not cast.project.goals.exists()
