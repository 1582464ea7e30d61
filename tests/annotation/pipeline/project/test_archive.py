from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile

from annotation.errors import BusyError
from annotation.jobs import kinds
from annotation.jobs.work import work_on
from annotation.models import CachedAnswer, Correction, Prediction, Project, Sample, Stage
from annotation.pipeline.distill.training_folder import training_folder
from annotation.pipeline.export import run_export
from annotation.pipeline.ingest.upload import store_upload
from annotation.pipeline.project import archive
from annotation.pipeline.review import bulk, corrections
from tests.support.factories import make_project, make_user
from tests.support.pages import Cast, judge_rows, make_cast

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def cast(settings: Any, tmp_path: Path) -> Cast:
    settings.RUN_DIR, settings.EXPORT_DIR, settings.UPLOAD_DIR = (
        tmp_path / name for name in ("runs", "exports", "uploads")
    )
    cast = make_cast()
    judge_rows(cast.project)
    return cast


def delete(project: Project) -> None:
    archive.put_away(project, user=project.owner)
    stage = archive.start_deletion(Project.objects.get(pk=project.pk), name=project.name, user=project.owner)
    work(stage)


def work(stage: Stage) -> None:
    with work_on(stage.pk) as job:
        assert job is not None
        archive.run_deletion(job)


def test_a_project_that_was_put_away_is_in_nobodys_list_and_behind_no_address(cast: Cast) -> None:
    assert cast.client("owner").post(cast.url("put-away/")).status_code == 302
    for role in ("viewer", "reviewer", "owner"):
        assert cast.client(role).get(cast.url("review/")).status_code == 404
    assert "Film notes" not in cast.client("viewer").get("/").content.decode()
    assert "1 archived project" in cast.client("owner").get("/").content.decode()


def test_a_project_that_is_taken_back_is_as_it_was(cast: Cast) -> None:
    before = list(cast.project.samples.order_by("pk").values())
    owner = cast.client("owner")
    owner.post(cast.url("put-away/"))
    owner.post(cast.url("take-back/"))
    assert cast.client("viewer").get(cast.url("review/")).status_code == 200
    assert list(cast.project.samples.order_by("pk").values()) == before


@pytest.mark.parametrize("kind", [kinds.LLM.key, kinds.EXPORT.key])
def test_a_project_with_a_stage_that_is_not_over_stays(cast: Cast, kind: str) -> None:
    Stage.objects.create(project=cast.project, kind=kind, status=Stage.Status.PAUSED)
    answer = cast.client("owner").post(cast.url("put-away/"), follow=True)
    assert "cancel it first" in answer.content.decode()
    assert cast.client("owner").get(cast.url("review/")).status_code == 200


def test_a_link_into_a_project_that_was_put_away_makes_nobody_a_member(cast: Cast) -> None:
    link = cast.client("owner").post(cast.url("members/invite/"), {"role": "viewer", "days": 7}, follow=True)
    path = next(part for part in link.content.decode().split('"') if "/join/" in part).partition("/join/")[2]
    cast.client("owner").post(cast.url("put-away/"))
    assert cast.client("stranger").post(f"/join/{path}").status_code == 404
    assert not cast.project.memberships.filter(user=cast.users["stranger"]).exists()


@pytest.mark.parametrize("typed", ["", "film notes", "Film note"])
def test_only_the_exact_name_deletes(cast: Cast, typed: str) -> None:
    owner = cast.client("owner")
    owner.post(cast.url("put-away/"))
    answer = owner.post(cast.url("delete/"), {"name": typed}, follow=True)
    assert "type its exact name" in answer.content.decode()
    assert not Stage.objects.filter(kind=kinds.DELETION.key).exists()


def test_a_project_in_use_cannot_be_deleted(cast: Cast) -> None:
    assert cast.client("owner").post(cast.url("delete/"), {"name": "Film notes"}).status_code == 404
    assert cast.project.samples.count() == 12


def test_a_deletion_takes_rows_corrections_and_files_and_nothing_of_other_projects(
    cast: Cast, tmp_path: Path
) -> None:
    other = make_project(rows=12, owner=make_user("other"))
    owner, project = cast.users["owner"], cast.project
    label = project.label_list()[0]
    corrections.correct_sample(project.samples.get(position=0).pk, label_id=label.pk, user=owner)
    bulk.start_batch(project, bulk.Choice(label, query="show=right"), user=owner)
    store_upload(project, ContentFile(b"id,text\n1,a\n", name="a.csv"), owner)
    exported = run_export.start_export(project, format="csv", user=owner)
    with work_on(exported.pk) as job:
        assert job is not None
        run_export.run_export(job)
    slm = project.stages.get(kind=kinds.SLM.key)
    (training_folder(slm) / "features.npy").write_bytes(b"features")
    CachedAnswer.objects.create(owner=owner, key="0" * 64, label=0)
    delete(project)
    assert not Project.objects.filter(pk=project.pk).exists()
    assert Sample.objects.exclude(project=other).count() == 0
    assert Prediction.objects.count() == Correction.objects.count() == 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert other.samples.count() == 12
    assert CachedAnswer.objects.filter(owner=owner).exists(), "it was paid for"


def test_a_deletion_whose_worker_died_goes_on_with_what_is_left(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "DELETE_ROWS", 5)
    owner = cast.client("owner")
    owner.post(cast.url("put-away/"))
    owner.post(cast.url("delete/"), {"name": "Film notes"})
    stage = Stage.objects.get(kind=kinds.DELETION.key)
    with work_on(stage.pk) as job:
        assert job is not None
        monkeypatch.setattr(job.lease, "should_stop", lambda: cast.project.samples.count() <= 7)
        archive.run_deletion(job)
    assert cast.project.samples.count() == 7
    with pytest.raises(BusyError):
        archive.take_back(Project.objects.get(pk=cast.project.pk), user=cast.users["owner"])
    assert "being deleted" in owner.get("/").content.decode()
    work(stage)
    assert not Project.objects.filter(pk=cast.project.pk).exists()
    assert "Film notes" not in owner.get("/").content.decode()
