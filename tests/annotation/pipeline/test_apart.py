"""The loop on machines without a shared folder: each job finds what another machine's left."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from django.db import DatabaseError

from annotation.jobs.work import run_stage
from annotation.models import Stage, Upload
from annotation.pipeline.distill.kept_model import kept_model, needed_model, zip_model
from annotation.pipeline.distill.neighbours import nearest_samples
from annotation.pipeline.distill.start_new_rows import start_new_rows
from annotation.pipeline.distill.training_folder import newest_features
from annotation.pipeline.export import run_export
from annotation.pipeline.ingest.upload import delete_upload, path_of, waiting_uploads
from annotation.pipeline.project.archive import put_away, start_deletion
from tests.support import imports
from tests.support.factories import make_project
from tests.support.kept import add_rows, project_with_model
from tests.support.machines import Machines

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def machines(settings: Any, tmp_path: Path) -> Machines:
    machines = Machines(settings, tmp_path)
    machines.go_to("web")
    return machines


def run(stage: Stage) -> Stage:
    run_stage(stage.pk)
    stage.refresh_from_db()
    assert stage.status == Stage.Status.DONE, stage.error
    return stage


def test_another_machine_imports_what_was_uploaded(machines: Machines, settings: Any) -> None:
    project = make_project(rows=0)
    stored = imports.upload(project, imports.table(*imports.numbered(20)))
    machines.go_to("worker")
    run(imports.start(project, stored))
    assert project.samples.count() == 20
    machines.go_to("web")
    other = imports.upload(project, imports.table(*imports.numbered(5, first=20)), "more.csv")
    assert waiting_uploads(project) == [other]
    path = path_of(other)
    delete_upload(other)
    assert not path.exists()
    assert not (machines.store / "uploads" / path.name).exists()


def test_an_upload_that_can_t_be_written_down_leaves_no_file(
    machines: Machines, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_fields: Any) -> None:
        raise DatabaseError

    monkeypatch.setattr(Upload.objects, "create", refuse)
    with pytest.raises(DatabaseError):
        imports.upload(make_project(rows=0), imports.table(*imports.numbered(5)))
    assert [path for path in machines.store.rglob("*") if path.is_file()] == []
    assert list(settings.UPLOAD_DIR.iterdir()) == []


def test_another_machine_hands_out_what_was_exported(machines: Machines) -> None:
    project = make_project(rows=6)
    machines.go_to("worker")
    stage = run(run_export.start_export(project, user=project.owner, format="csv"))
    machines.go_to("web")
    assert run_export.is_kept(stage)
    assert len(run_export.export_path(stage).read_text().splitlines()) == 7


def test_other_machines_use_what_a_training_left(machines: Machines) -> None:
    machines.go_to("trainer")
    project = project_with_model()
    samples = list(project.samples.all())
    here = newest_features(project, samples)
    machines.go_to("worker")
    there = newest_features(project, samples)
    assert here is not None
    assert there is not None
    assert (here == there).all()
    assert nearest_samples(project, [samples[0].pk])
    add_rows(project)
    run(start_new_rows(project, user=project.owner))
    assert not project.samples.filter(label=None).exists()
    machines.go_to("web")
    with ZipFile(zip_model(needed_model(project))) as packed:
        assert "config.json" in packed.namelist()


def test_deleting_a_project_leaves_nothing_in_the_store(machines: Machines) -> None:
    project = project_with_model()
    imports.upload(project, imports.table(*imports.numbered(5)))
    run(run_export.start_export(project, user=project.owner, format="csv"))
    put_away(project, user=project.owner)
    project.refresh_from_db()
    machines.go_to("worker")
    run_stage(start_deletion(project, name=project.name, user=project.owner).pk)
    assert [path for path in machines.store.rglob("*") if path.is_file()] == []


def test_a_training_whose_files_are_lost_has_no_model(machines: Machines) -> None:
    project = project_with_model()
    assert kept_model(project) is not None
    for path in sorted(machines.store.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    machines.go_to("worker")
    assert kept_model(project) is None
    assert newest_features(project, list(project.samples.all())) is None
