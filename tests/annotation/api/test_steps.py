from __future__ import annotations

import pytest

from annotation.jobs import kinds, state
from annotation.jobs.work import run_stage
from annotation.models import Activity, Correction, Stage
from annotation.pipeline.project.configure import set_llm
from mlcore.config import LlmConfig
from tests.support.api import Program
from tests.support.pages import Cast, judge_rows, make_cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast(rows=60)


@pytest.fixture
def path(cast: Cast) -> str:
    return f"/projects/{cast.project.pk}"


def test_a_round_is_started_steered_and_read(cast: Cast, path: str) -> None:
    program = Program(cast.users["owner"])
    started = program.post(f"{path}/rounds", {"started_from": "llm"})
    assert started.status_code == 201
    (stage,) = started.json()["stages"]
    assert program.post(f"{path}/stages/{stage}/pause").json()["status"] == "paused"
    assert program.post(f"{path}/stages/{stage}/resume").json()["status"] == "queued"
    assert program.post(f"{path}/stages/{stage}/cancel").json()["status"] == "cancelled"
    (listed,) = program.get(f"{path}/stages", kind="llm", active=False).json()["items"]
    assert (listed["id"], listed["round"], listed["requested_by"]) == (stage, 1, "owner")
    verbs = set(Activity.objects.values_list("verb", flat=True))
    assert verbs >= {"started", "paused", "resumed", "cancelled"}


def test_what_can_not_begin_now_is_said(cast: Cast, path: str) -> None:
    program = Program(cast.users["owner"])
    early = program.post(f"{path}/filtering")
    assert (early.status_code, early.json()["code"]) == (409, "not_ready")
    program.post(f"{path}/rounds", {"started_from": "llm"})
    twice = program.post(f"{path}/rounds", {"started_from": "llm"})
    assert twice.status_code == 409
    assert program.get(f"{path}/goal").json()["code"] == "not_ready"
    assert program.get(f"{path}/certificate").json()["code"] == "not_ready"


def test_the_models_are_set_in_part_and_no_secret_is_told(cast: Cast, path: str) -> None:
    program = Program(cast.users["owner"])
    config = LlmConfig(kind="endpoint", model="big", base_url="http://127.0.0.1:9/v1")
    set_llm(cast.project, config=config, token="sk-secret-1234", headers="api-key: hidden")
    changed = program.send("patch", f"{path}/models", {"demonstrations": 4, "epochs": 5})
    assert changed.status_code == 200
    told = changed.json()
    assert (told["settings"]["demonstrations"], told["settings"]["endpoint_model"]) == (4, "big")
    assert "sk-secret" not in changed.content.decode()
    assert "hidden" not in changed.content.decode()
    cast.project.refresh_from_db()
    assert (cast.project.llm_token, cast.project.distill_config.epochs) == ("sk-secret-1234", 5)
    wrong = program.send("patch", f"{path}/models", {"base_url": "ftp://x"})
    assert wrong.status_code == 400
    assert "base_url" in wrong.json()["fields"]


def test_a_goal_is_set_in_part_and_the_plan_read(cast: Cast, path: str) -> None:
    judge_rows(cast.project)
    program = Program(cast.users["owner"])
    program.send("put", f"{path}/goal", {"target": 90, "minutes": 30, "until": "2099-01-01T00:00:00Z"})
    run_stage(cast.project.stages.get(kind=kinds.PLAN.key).pk)
    plan = program.send("put", f"{path}/goal", {"minutes": None}).json()
    assert plan["goal"]["target"] == 90
    assert plan["goal"]["minutes"] is None
    assert plan["goal"]["until"].startswith("2099-01-01T00:00:00")
    assert plan["is_planning"]
    run_stage(cast.project.stages.get(kind=kinds.PLAN.key).pk)
    plan = program.get(f"{path}/goal").json()
    assert plan["next_step"]["kind"] == "measure"
    begun = program.post(f"{path}/goal/step").json()
    assert begun["rows"] == program.get(f"{path}/goal").json()["waiting_rows"] > 0


def test_drawn_rows_are_answered_blind(cast: Cast, path: str) -> None:
    judge_rows(cast.project)
    program = Program(cast.users["reviewer"])
    assert program.post(f"{path}/audit-draws", {"rows": 10}).json() == {"rows": 10}
    queue = program.post(f"{path}/queue", {"only_random": True}).json()
    row = queue["items"][0]
    assert (row["because"], row["label"], row["said"]) == ("audit", None, [])
    answer = {"id": row["answer_id"], "label": "positive", "version": row["version"], "because": "audit"}
    for _time in range(2):
        assert program.post(f"{path}/rows/{row['id']}/answer", answer).status_code == 200
    assert Correction.objects.count() == 1
    undo = {"undo_id": "c5b9f6d2-6b43-4b6c-9d5a-0f2d3a1b7e10"}
    assert program.post(f"{path}/queue/undo", undo).json()["row"] == row["id"]
    assert program.post(f"{path}/rows/{row['id']}/skip").status_code == 204
    assert program.get(f"{path}/accuracy").json()["answered"] == 0


def test_a_file_is_made_asked_for_and_downloaded(cast: Cast, path: str) -> None:
    judge_rows(cast.project)
    program = Program(cast.users["viewer"])
    made = program.post(f"{path}/exports", {"format": "csv"}).json()
    waiting = program.get(f"{path}/exports/{made['stage']['id']}/download")
    assert waiting.json()["code"] == "not_ready"
    run_stage(made["stage"]["id"])
    done = program.get(f"{path}/exports/{made['stage']['id']}").json()
    file = program.get(done["download"].removeprefix("/api/v1"))
    assert b"".join(file.streaming_content).decode("utf-8-sig").startswith("id,")


def test_members_invitations_filters_and_webhooks(cast: Cast, path: str, settings: object) -> None:
    program = Program(cast.users["owner"])
    added = program.post(f"{path}/members", {"username": "stranger", "role": "viewer"}).json()
    assert (
        program.send("patch", f"{path}/members/{added['id']}", {"role": "reviewer"}).json()["role"]
        == "reviewer"
    )
    assert program.send("delete", f"{path}/members/{added['id']}").status_code == 204
    link = program.post(f"{path}/invitations", {"role": "viewer", "days": 1, "once": True}).json()
    assert "/join/" in link["link"]
    (listed,) = program.get(f"{path}/invitations").json()
    assert "link" not in listed
    assert program.send("delete", f"{path}/invitations/{link['id']}").status_code == 204
    kept = program.post(f"{path}/filters", {"name": "wrong ones", "query": "?show=wrong"}).json()
    assert program.get(f"{path}/filters").json() == [kept]
    assert program.send("delete", f"{path}/filters/{kept['id']}").status_code == 204
    hook = program.post(f"{path}/webhooks", {"address": "http://127.0.0.1:1/hook"})
    assert hook.status_code == 201
    assert program.post(f"{path}/webhook-calls").json() == {"calls": 1}
    (call,) = program.get(f"{path}/webhook-calls").json()["items"]
    assert (call["event"], call["tries"]) == ("test", 0)
    assert program.send("delete", f"{path}/webhooks/{hook.json()['id']}").status_code == 204
    assert len(program.get(f"{path}/activity", limit=3).json()["items"]) == 3


def test_a_stage_of_another_project_is_hidden(cast: Cast, path: str) -> None:
    other = Program(cast.users["stranger"]).post("/projects", {"name": "Other", "task_type": "topic"}).json()
    stage = state.create_stage(cast.project, kinds.EXPORT, user=None)
    answer = Program(cast.users["stranger"]).post(f"/projects/{other['id']}/stages/{stage.pk}/cancel")
    assert answer.status_code == 404
    stage.refresh_from_db()
    assert stage.status == Stage.Status.QUEUED
