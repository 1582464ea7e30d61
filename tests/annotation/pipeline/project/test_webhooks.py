"""Webhooks: signed, tried again, never lost, and never to an address that is not allowed."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from annotation.errors import AnnotationError
from annotation.jobs import kinds, state
from annotation.jobs.reaper import reap
from annotation.jobs.webhook_detail import WebhookDetail
from annotation.jobs.work import run_stage
from annotation.messages import message_text
from annotation.models import Project, Stage, Webhook
from annotation.pipeline.project import webhooks
from annotation.pipeline.project.archive import put_away
from annotation.pipeline.project.goal import set_goal
from tests.support.factories import make_project
from tests.support.pages import judge_rows, make_cast
from tests.support.receiver import Receiver, receiving

pytestmark = pytest.mark.django_db


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    with receiving() as receiver:
        settings.LLM_ALLOWED_HOSTS = [f"127.0.0.1:{receiver.server_port}"]
        yield receiver


@pytest.fixture
def project(receiver: Receiver) -> Project:
    project = make_project(rows=60)
    webhooks.add_webhook(project, receiver.url, user=project.owner)
    return project


def call(project: Project) -> Stage:
    """Make the newest call."""
    stage = project.stages.filter(kind=kinds.WEBHOOK.key).first()
    assert stage
    run_stage(stage.pk)
    stage.refresh_from_db()
    return stage


def test_a_call_is_signed_json_with_what_happened(receiver: Receiver, project: Project) -> None:
    state.tell_webhooks(project, "test", {"stage": 7})
    assert call(project).status == Stage.Status.DONE
    [(body, headers)] = receiver.calls
    told = json.loads(body)
    assert (told["event"], told["project"], told["name"], told["stage"]) == (
        "test",
        project.pk,
        "Film notes",
        7,
    )
    expected = hmac.new(webhooks.webhook_key(project).encode(), body, hashlib.sha256).hexdigest()
    assert headers["X-Coral-Signature"] == f"sha256={expected}"


def test_a_refused_call_is_tried_again_later_and_at_last_fails(receiver: Receiver, project: Project) -> None:
    receiver.status = 500
    state.tell_webhooks(project, "test", {})
    waits = []
    for _try in webhooks.WAITS:
        stage = call(project)
        assert (stage.status, stage.resume_at is not None) == (Stage.Status.PAUSED, True)
        waits.append(round((stage.resume_at - timezone.now()).total_seconds()))  # type: ignore[operator]
        Stage.objects.filter(pk=stage.pk).update(resume_at=timezone.now() - timedelta(seconds=1))
        reap()
    stage = call(project)
    assert stage.status == Stage.Status.FAILED
    assert message_text(stage.error) == "The webhook answered with status 500."
    assert waits == pytest.approx(webhooks.WAITS, abs=5)
    assert WebhookDetail.of(stage).tries == len(receiver.calls) == len(webhooks.WAITS) + 1
    assert len({headers["X-Coral-Call"] for _body, headers in receiver.calls}) == 1
    receiver.status = 200
    state.resume(stage)
    assert call(project).status == Stage.Status.DONE


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (302, {"Location": "http://example.org/"}, b""),
        (200, {}, b"x" * 1_100_000),
        (200, {"Content-Encoding": "br"}, b"x"),
    ],
    ids=["sent elsewhere", "too long", "packed"],
)
def test_an_answer_that_is_not_taken_is_tried_again(
    receiver: Receiver, project: Project, status: int, headers: dict[str, str], body: bytes
) -> None:
    receiver.status, receiver.headers, receiver.body = status, headers, body
    state.tell_webhooks(project, "test", {})
    stage = call(project)
    assert (stage.status, stage.resume_at is not None) == (Stage.Status.PAUSED, True)
    assert message_text(stage.error)


def test_an_address_that_is_allowed_no_more_is_not_called(
    receiver: Receiver, project: Project, settings: Any
) -> None:
    state.tell_webhooks(project, "test", {})
    settings.LLM_ALLOWED_HOSTS = []
    assert call(project).status == Stage.Status.FAILED
    assert not receiver.calls


def test_the_end_of_a_job_is_told_but_not_that_of_a_call(receiver: Receiver, project: Project) -> None:
    export = state.create_stage(project, kinds.EXPORT, user=project.owner)
    run_stage(export.pk)
    call(project)
    [(body, _headers)] = receiver.calls
    told = json.loads(body)
    assert (told["event"], told["stage"], told["kind"], told["status"]) == (
        "stage",
        export.pk,
        "export",
        "done",
    )
    assert project.stages.filter(kind=kinds.WEBHOOK.key).count() == 1
    state.request_cancel(state.create_stage(project, kinds.EXPORT, user=project.owner))
    call(project)
    assert json.loads(receiver.calls[1][0])["status"] == "cancelled"


def test_a_call_that_waits_keeps_nobody_from_archiving(project: Project) -> None:
    state.tell_webhooks(project, "test", {})
    put_away(project, user=project.owner)
    project.refresh_from_db()
    assert project.put_away_at


def test_the_log_keeps_the_newest_calls(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "KEPT_CALLS", 3)
    for _time in range(5):
        state.tell_webhooks(project, "test", {})
        project.stages.update(status=Stage.Status.DONE)
    assert project.stages.count() == 3


def test_the_same_address_twice_and_too_many_are_refused(
    project: Project, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AnnotationError, match="already"):
        webhooks.add_webhook(project, receiver.url, user=project.owner)
    monkeypatch.setattr(webhooks, "MOST_WEBHOOKS", 1)
    with pytest.raises(AnnotationError, match="maximum"):
        webhooks.add_webhook(project, f"{receiver.url}/2", user=project.owner)


def test_people_who_are_needed_are_told_once_to_the_goals_webhook_too(
    receiver: Receiver, project: Project
) -> None:
    judge_rows(project)
    set_goal(project, user=project.owner, autopilot=True, webhook=f"{receiver.url}/goal")
    for _time in range(2):
        project.stages.filter(kind=kinds.PLAN.key).update(status=Stage.Status.QUEUED)
        run_stage(project.stages.get(kind=kinds.PLAN.key).pk)
    calls = project.stages.filter(kind=kinds.WEBHOOK.key)
    told = [detail for detail in map(WebhookDetail.of, calls) if detail.event == "people"]
    assert {detail.address for detail in told} == {receiver.url, f"{receiver.url}/goal"}
    assert [detail.facts["rows"] for detail in told] == [40, 40]


def test_the_pages_are_for_owners_and_show_what_became_of_a_call(receiver: Receiver) -> None:
    cast = make_cast()
    owner = cast.client("owner")
    refused = owner.post(cast.url("webhooks/add/"), {"address": "http://10.0.0.1/x"}, follow=True)
    assert "10.0.0.1" in refused.content.decode()
    assert not Webhook.objects.exists()
    owner.post(cast.url("webhooks/add/"), {"address": receiver.url})
    receiver.status = 503
    owner.post(cast.url("webhooks/call/"))
    call(cast.project)
    page = owner.get(cast.url("webhooks/")).content.decode()
    assert "The webhook answered with status 503." in page
    assert "Send again" in page
    owner.post(cast.url(f"webhooks/{Webhook.objects.get().pk}/remove/"))
    assert not Webhook.objects.exists()
