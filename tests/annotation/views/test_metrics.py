from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from annotation.jobs import kinds, state
from annotation.jobs.work import take_up
from annotation.models import Stage
from tests.support.factories import make_project

pytestmark = pytest.mark.django_db


def figures(client: Client, **headers: str) -> dict[str, float]:
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    lines = [line for line in answer.content.decode().splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_prometheus_gets_queues_rows_calls_and_times(client: Client, settings: Any) -> None:
    settings.METRICS_TOKEN = "a token"
    project = make_project(rows=0)
    done = state.create_stage(project, kinds.LLM, user=None, total=9_000)
    detail = {"price_in": 1.0, "calls": {"failures": {"limited": 3}}}
    Stage.objects.filter(pk=done.pk).update(
        status="done", done=9_000, seconds=30.0, crashes=1, tokens_in=2_000_000, tokens_out=7, detail=detail
    )
    Stage.objects.create(project=project, kind="llm-part", parent=done, done=500, tokens_in=9)
    waiting = state.create_stage(project, kinds.TRIAL, user=None, total=20)
    assert take_up(state.create_stage(project, kinds.EXPORT, user=None, total=100_000).pk)
    client.get("/login/")
    found = figures(client, authorization="Bearer a token")
    assert found['coral_queue_jobs{queue="short"}'] == 1
    assert found['coral_queue_wait_seconds{queue="short"}'] < 60
    assert found['coral_jobs{kind="export",status="running"}'] == 1
    assert found['coral_rows_total{kind="llm"}'] == 9_000, "a part is counted with its whole"
    assert found['coral_job_seconds_total{kind="llm"}'] == 30
    assert found['coral_leases_lost_total{kind="llm"}'] == 1
    assert found['coral_tokens_total{direction="in"}'] == 2_000_000
    assert found['coral_failed_calls_total{kind="limited"}'] == 3
    assert found["coral_money_total"] == pytest.approx(2.0, abs=0.01)
    assert found['coral_request_seconds_count{view="login"}'] >= 1
    assert waiting.pk


@pytest.mark.parametrize(("token", "sent"), [("", "Bearer "), ("a token", "Bearer another"), ("a token", "")])
def test_nobody_else_gets_them(client: Client, settings: Any, token: str, sent: str) -> None:
    settings.METRICS_TOKEN = token
    assert client.get("/metrics", headers={"authorization": sent}).status_code == 404
