"""The list of projects, the steps of one, and its members."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from annotation.jobs.work import run_stage
from annotation.models import Membership, Project, Role, Stage, Upload
from tests.support.factories import make_user
from tests.support.pages import Cast, make_cast, one_line
from tests.support.running import html_of, running

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast()


# --- Projects ---------------------------------------------------------------------------------------------------------


def test_somebody_without_projects_is_told_what_this_is_and_what_to_do() -> None:
    client = Client()
    client.force_login(make_user())
    html = client.get("/").content.decode()
    assert "Label a corpus with little human effort" in html
    assert "New project" in html


def test_the_list_shows_own_projects_with_their_state_in_words(cast: Cast) -> None:
    running(cast)
    assert "LLM labeling: running, 41 %" in cast.client("viewer").get("/").content.decode()
    assert "Film notes" not in cast.client("stranger").get("/").content.decode()


@pytest.mark.parametrize("role", ["owner", "viewer"])
def test_a_project_opens_where_its_work_goes_on(cast: Cast, role: str) -> None:
    def opened() -> str:
        return str(cast.client(role).get(cast.url(""))["Location"]).removeprefix(cast.url(""))

    assert opened() == ("configure/data/" if role == "owner" else "members/")
    stage = running(cast)
    assert opened() == "labeling/"
    Stage.objects.filter(pk=stage.pk).update(status="done")
    assert opened() == "filtering/"


def test_steps_open_one_after_the_other(cast: Cast) -> None:
    def closed() -> int:
        return html_of(cast, "members/").count('aria-disabled="true"')

    assert closed() == 4
    stage = running(cast, done=0)
    assert closed() == 3
    Stage.objects.filter(pk=stage.pk).update(done=5)
    assert closed() == 0


# --- Members ----------------------------------------------------------------------------------------------------------


def test_an_owner_adds_a_member_who_then_sees_the_project(cast: Cast) -> None:
    cast.client("owner").post(cast.url("members/add/"), {"username": "stranger", "role": "viewer"})
    assert cast.client("stranger").get(cast.url("members/")).status_code == 200


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("nobody", "There is no account named “nobody”"), ("viewer", "is a member already, as Viewer")],
)
def test_a_name_that_cant_be_added_gets_a_sentence(cast: Cast, name: str, sentence: str) -> None:
    answer = cast.client("owner").post(cast.url("members/add/"), {"username": name, "role": "owner"})
    assert answer.status_code == 400
    assert sentence in answer.content.decode()


def test_the_last_owner_stays_one(cast: Cast) -> None:
    mine = Membership.objects.get(project=cast.project, role=Role.OWNER)
    for action, data in (("role", {"role": "viewer"}), ("remove", {})):
        answer = cast.client("owner").post(cast.url(f"members/{mine.pk}/{action}/"), data, follow=True)
        assert "A project needs an owner" in answer.content.decode()
    mine.refresh_from_db()
    assert mine.role == Role.OWNER


def test_a_removed_member_no_longer_sees_the_project(cast: Cast) -> None:
    theirs = Membership.objects.get(project=cast.project, role=Role.VIEWER)
    cast.client("owner").post(cast.url(f"members/{theirs.pk}/remove/"))
    assert cast.client("viewer").get(cast.url("members/")).status_code == 404


def test_the_sample_is_loaded_by_a_button_of_the_empty_page() -> None:
    client = Client()
    client.force_login(make_user())
    assert "Load the sample project" in client.get("/").content.decode()
    answer = client.post("/projects/sample/")
    project = Project.objects.get()
    assert answer.headers["Location"] == f"/projects/{project.pk}/configure/data/"
    assert (project.name, project.labels.count()) == ("Customer messages", 4)
    run_stage(project.stages.get(kind="import").pk)
    assert project.samples.count() == 400


def test_a_file_can_be_sent_with_the_new_project() -> None:
    client = Client()
    client.force_login(make_user())
    file = SimpleUploadedFile("notes.csv", b"id,text\n1,a fine film\n2,a poor film\n")
    answer = client.post("/projects/new/", {"name": "Notes", "task_type": "topic", "file": file})
    upload = Upload.objects.get()
    assert answer.headers["Location"] == f"/projects/{upload.project_id}/configure/data/{upload.pk}/"


def test_every_page_of_a_project_shows_the_run_that_is_at_work(cast: Cast) -> None:
    stage = running(cast)
    html = cast.client("viewer").get(cast.url("members/")).content.decode()
    work = one_line(html[html.index('id="work"') :].partition("</a>")[0])
    assert "LLM labeling: running, 41 %" in work
    stage.status = Stage.Status.DONE
    stage.save()
    html = cast.client("viewer").get(cast.url("members/")).content.decode()
    assert " hidden" in one_line(html[html.index('id="work"') :].partition("</a>")[0])
