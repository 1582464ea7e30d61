from __future__ import annotations

import pytest
from django.utils import translation

from annotation.models import Activity, Project
from tests.support.api import Program
from tests.support.factories import make_user
from tests.support.pages import make_cast

pytestmark = pytest.mark.django_db


def test_a_project_is_made_and_configured() -> None:
    program = Program(make_user())
    made = program.post("/projects", {"name": "Messages", "task_type": "topic"})
    assert made.status_code == 201
    path = f"/projects/{made.json()['id']}"
    labels = [{"name": "refund", "description": "wants money back"}, {"name": "other", "key": "o"}]
    assert [each["name"] for each in program.send("put", f"{path}/labels", {"labels": labels}).json()] == [
        "refund",
        "other",
    ]
    assert program.send("patch", path, {"name": "Letters"}).json()["name"] == "Letters"
    prompt = program.send("put", f"{path}/prompt", {"description": "You sort letters. {labels}"}).json()
    assert prompt["description"] == "You sort letters. {labels}"
    assert prompt["output"]
    preview = program.post(f"{path}/prompt/preview", {"output": "No place for the row"}).json()
    assert preview["problems"]
    team = program.send("put", f"{path}/guidelines", {"guidelines": "# Be kind"}).json()
    assert team == {"guidelines": "# Be kind", "double_review_percent": 0}
    project = Project.objects.get()
    assert (project.name, project.guidelines) == ("Letters", "# Be kind")
    assert Activity.objects.filter(verb="configured").count() == 4


def test_what_is_wrong_is_said_as_on_the_pages() -> None:
    program = Program(make_user())
    answer = program.post("/projects", {"name": "x" * 121, "task_type": "poetry"})
    assert answer.status_code == 400
    assert set(answer.json()["fields"]) == {"name", "task_type"}
    assert "Project name: " in answer.json()["sentence"]
    project = program.post("/projects", {"name": "x", "task_type": "topic"}).json()["id"]
    one = program.send("put", f"/projects/{project}/labels", {"labels": [{"name": "only"}]})
    assert (one.status_code, one.json()["code"]) == (409, "refused")
    assert "at least 2" in one.json()["sentence"]
    with translation.override("en"):  # the answer's language stays that of the thread
        chinese = program.send(
            "put",
            f"/projects/{project}/labels",
            {"labels": [{"name": "only"}]},
            headers={"accept-language": "zh"},
        )
    assert "至少" in chinese.json()["sentence"]


@pytest.mark.parametrize("body", ["{", "[" * 100_000, '{"name": NaN}', "9" * 10_000, '{"name": "\\ud800"}'])
def test_a_body_that_is_no_json_is_refused(body: str) -> None:
    answer = Program(make_user()).send("post", "/projects", body)
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid"


def test_a_body_that_is_too_large_is_refused() -> None:
    answer = Program(make_user()).send("post", "/projects", '{"name": "' + "x" * 6 * 2**20 + '"}')
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_project_is_archived_restored_and_deleted_by_its_name() -> None:
    cast = make_cast()
    program, path = Program(cast.users["owner"]), f"/projects/{cast.project.pk}"
    assert program.post(f"{path}/archive").status_code == 204
    assert program.get(path).status_code == 404
    assert [each["id"] for each in program.get("/projects", archived=True).json()["items"]] == [
        cast.project.pk
    ]
    assert program.post(f"{path}/restore").status_code == 204
    assert program.get(path).status_code == 200
    program.post(f"{path}/archive")
    assert program.send("delete", path, {"name": "Another"}).status_code == 409
    assert program.send("delete", path, {"name": "Film notes"}).status_code == 202


def test_projects_come_page_by_page() -> None:
    program = Program(make_user())
    for name in "abc":
        program.post("/projects", {"name": name, "task_type": "topic"})
    first = program.get("/projects", limit=2).json()
    rest = program.get("/projects", limit=2, after=first["next"]).json()
    assert [each["name"] for each in first["items"] + rest["items"]] == ["c", "b", "a"]
    assert rest["next"] is None
