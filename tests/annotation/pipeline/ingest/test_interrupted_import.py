"""Imports that are paused, cancelled or killed, and go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from annotation.errors import BusyError, LeaseLostError
from annotation.jobs import state
from annotation.jobs.reaper import reap
from annotation.jobs.work import work_on
from annotation.models import Project, Stage, Upload
from annotation.pipeline.ingest import start_import
from annotation.pipeline.ingest.discard_import import cancel_import, check_no_leftovers
from annotation.pipeline.ingest.duplicates import rows_with_texts
from annotation.pipeline.project import configure
from tests.support.factories import make_user
from tests.support.imports import (
    StopAfter,
    left_out,
    load,
    numbered,
    report_of,
    run,
    start,
    table,
    texts,
    upload,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return configure.create_project(name="Letters", task_type="sentiment", owner=make_user())


def test_a_paused_import_goes_on_where_it_stopped(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = start(project, upload(project, table(*numbered(5_500), "x,,bad")))
    StopAfter(monkeypatch, stage, Stage.RequestedAction.PAUSE, batches=3)
    run(stage)
    assert stage.status == Stage.Status.PAUSED
    assert project.samples.count() == report_of(stage).read == 2_000
    state.resume(stage)
    assert run(stage).status == Stage.Status.DONE
    assert texts(project) == [f"text number {number}" for number in range(5_500)]
    assert left_out(stage) == [(5502, "rejected", "the text is empty")]


def test_a_cancelled_import_leaves_no_row_and_can_be_begun_anew(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = start(project, upload(project, table(*numbered(5_500))))
    StopAfter(monkeypatch, stage, Stage.RequestedAction.CANCEL, batches=3)
    run(stage)
    assert stage.status == Stage.Status.CANCELLED
    assert stage.done == 0
    assert not project.samples.exists()
    state.resume(stage)
    assert run(stage).status == Stage.Status.DONE
    assert project.samples.count() == 5_500


def test_cancelling_a_paused_append_takes_back_its_rows_only(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(project, table(*numbered(100)))
    stage = start(project, upload(project, table(*numbered(5_500, first=100))))
    StopAfter(monkeypatch, stage, Stage.RequestedAction.PAUSE, batches=3)
    run(stage)
    assert project.samples.count() == 2_100
    cancel_import(stage)
    assert stage.status == Stage.Status.CANCELLED
    assert stage.done == Stage.objects.get(pk=stage.pk).done == 0
    assert project.samples.count() == 100


def test_a_half_import_must_be_ended_before_anything_else(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = start(project, upload(project, table(*numbered(5_500))))
    StopAfter(monkeypatch, stage, Stage.RequestedAction.PAUSE, batches=3)
    run(stage)
    Stage.objects.filter(pk=stage.pk).update(status=Stage.Status.FAILED)
    with pytest.raises(BusyError, match=r"The import of “letters\.csv” was interrupted"):
        check_no_leftovers(project)
    load(project, table(*numbered(20)))
    assert project.samples.count() == 20
    check_no_leftovers(project)


def test_two_imports_at_once_are_one(project: Project) -> None:
    first, second = upload(project, table("a,one,bad")), upload(project, table("b,two,bad"))
    start(project, first)
    with pytest.raises(BusyError):
        start(project, second)
    assert project.stages.count() == 1


def test_a_worker_that_lost_its_lease_stores_nothing(project: Project) -> None:
    stage = start(project, upload(project, table(*numbered(10))))
    with work_on(stage.pk) as job:
        assert job is not None
        Stage.objects.filter(pk=stage.pk).update(attempt=99)
        with pytest.raises(LeaseLostError), transaction.atomic():
            start_import.run_import(job)
        assert not project.samples.exists()
        assert Upload.objects.get(pk=stage.detail["upload"]).report == {}


KILLED = """
import os, signal, sys
import django
django.setup()
from django.conf import settings
from django.db import connections
from pathlib import Path
connections["default"].settings_dict["NAME"] = sys.argv[1]
settings.UPLOAD_DIR = Path(sys.argv[2])
from annotation.jobs.work import work_on
from annotation.pipeline.ingest import start_import
from annotation.pipeline.ingest.import_report import ImportReport
save, left = ImportReport.save, [int(sys.argv[4])]
def die_before_the_commit(self, upload):
    left[0] -= 1
    save(self, upload)
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
ImportReport.save = die_before_the_commit
with work_on(int(sys.argv[3])) as job:
    start_import.run_import(job)
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("saves", "stored"),
    [(3, 2_000), (7, 5_000)],
    ids=["in the third batch", "in the last step, all rows stored"],
)
def test_an_import_that_is_killed_goes_on_without_a_row_lost_or_doubled(
    project: Project, settings: Any, tmp_path: Path, saves: int, stored: int
) -> None:
    rows = [*numbered(2_000), "r7,text number 7,good", "x,,bad", *numbered(3_000, first=2_000)]
    stage = start(project, upload(project, table(*rows)), id_column="id")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "coral_site.settings",
        "CORAL_DATA_DIR": str(tmp_path),
        "REDIS_URL": "unix://" + str(tmp_path / "nobody.sock"),
        "CORAL_LOG_LEVEL": "CRITICAL",
    }
    command = [
        sys.executable,
        "-c",
        KILLED,
        str(connection.settings_dict["NAME"]),
        str(settings.UPLOAD_DIR),
        str(stage.pk),
        str(saves),
    ]
    killed = subprocess.run(command, cwd=settings.BASE_DIR, env=environment, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert project.samples.count() == stored  # what was not committed went with its worker
    assert not project.text_pages.exists()
    Stage.objects.filter(pk=stage.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert reap() == 1
    assert run(stage).status == Stage.Status.DONE
    report = report_of(stage)
    assert (report.read, report.imported, report.duplicates, report.rejected) == (5_002, 5_000, 1, 1)
    assert texts(project) == [f"text number {number}" for number in range(5_000)]
    assert list(project.samples.order_by("position").values_list("position", flat=True)) == list(range(5_000))
    assert rows_with_texts(project, [project.samples.get(position=7).content_hash]).count() == 1
