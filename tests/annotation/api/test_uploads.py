from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from annotation.jobs.work import run_stage
from annotation.models import Project
from tests.support.api import Program
from tests.support.factories import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def program() -> Program:
    return Program(make_user())


@pytest.fixture
def path(program: Program) -> str:
    made = program.post("/projects", {"name": "Messages", "task_type": "topic"})
    return f"/projects/{made.json()['id']}"


def send_file(program: Program, path: str, name: str, content: bytes) -> Any:
    return program.send("post", f"{path}/uploads", None, data={"file": SimpleUploadedFile(name, content)})


def test_rows_as_json_are_imported_with_the_roles_that_are_guessed(program: Program, path: str) -> None:
    rows = [{"id": f"m{number}", "text": f"message {number}", "stars": number} for number in range(3)]
    sent = program.post(f"{path}/rows", {"rows": rows})
    assert sent.status_code == 201
    assert sent.json()["roles"] == {"content_columns": ["text"], "id_column": "id", "reference_column": ""}
    started = program.post(f"{path}/uploads/{sent.json()['id']}/import")
    assert started.status_code == 202
    run_stage(started.json()["id"])
    done = program.get(f"{path}/stages/{started.json()['id']}").json()
    assert (done["status"], done["kind"], done["percent"]) == ("done", "import", 100)
    seen = program.get(f"{path}/rows").json()["items"]
    assert [(row["external_id"], row["fields"]["stars"]) for row in seen] == [
        ("m0", "0"),
        ("m1", "1"),
        ("m2", "2"),
    ]
    assert program.get(f"{path}/uploads").json()[0]["report"]["imported"] == 3


def test_a_file_is_read_in_another_way_and_its_roles_are_said(program: Program, path: str) -> None:
    sent = send_file(program, path, "notes.csv", "note;kind\nschön;a\ngrün;b\n".encode("latin-1")).json()
    assert sent["columns"] == ["note", "kind"]
    whole = program.send("patch", f"{path}/uploads/{sent['id']}", {"delimiter": ","}).json()
    assert whole["columns"] == ["note;kind"]
    program.send("patch", f"{path}/uploads/{sent['id']}", {"delimiter": ";"})
    body = {"content_columns": ["note"], "reference_column": "kind"}
    started = program.post(f"{path}/uploads/{sent['id']}/import", body)
    run_stage(started.json()["id"])
    project = Project.objects.get()
    assert (project.content_columns, project.reference_column) == (["note"], "kind")
    assert [sample.text for sample in project.samples.order_by("position")] == ["schön", "grün"]


def test_a_file_that_nobody_imports_is_removed(program: Program, path: str) -> None:
    sent = send_file(program, path, "a.csv", b"text\none\n").json()
    assert program.send("delete", f"{path}/uploads/{sent['id']}").status_code == 204
    assert program.get(f"{path}/uploads").json() == []


def test_a_file_that_is_none_and_a_wrong_role_are_said(program: Program, path: str) -> None:
    refused = send_file(program, path, "a.pdf", b"%PDF-1.7\n")
    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_file")
    sent = send_file(program, path, "a.csv", b"text,label\none,a\n").json()
    wrong = program.post(f"{path}/uploads/{sent['id']}/import", {"content_columns": ["nothing"]})
    assert wrong.status_code == 400
    assert "content_columns" in wrong.json()["fields"]


def test_too_many_rows_at_once_are_refused(program: Program, path: str) -> None:
    rows = json.dumps({"rows": [{"t": "x"}] * 10_001})
    answer = program.send("post", f"{path}/rows", rows)
    assert answer.status_code == 400
    assert "rows" in answer.json()["fields"]
