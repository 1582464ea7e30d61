"""A disk without room ends a stage with a sentence that says so; what was stored stays, and the stage goes on later."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

import psycopg.errors
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, connection

from annotation.jobs import state
from annotation.jobs.disk_space import is_disk_full
from annotation.jobs.work import Job, work_on
from annotation.messages import message_text
from annotation.models import Prediction, Project, Stage
from annotation.pipeline.export import run_export
from annotation.pipeline.ingest import start_import
from annotation.pipeline.ingest.column_roles import ColumnRoles
from annotation.pipeline.ingest.upload import store_upload
from annotation.pipeline.label import answer_cache, run_labeling
from annotation.pipeline.project import configure
from tests.support.factories import (
    ScriptedModel,
    judge_sentiment,
    make_project,
    make_user,
    run_llm_stage,
    start_llm_round,
)

pytestmark = pytest.mark.django_db(transaction=True)

SENTENCE = "The disk is full"


def give_room(pages: int | None) -> None:
    """Let the database file grow by so many pages (None: as far as it likes)."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")  # rows of earlier tests left pages free
        used = cursor.execute("PRAGMA page_count").fetchone()[0]
        cursor.execute(f"PRAGMA max_page_count = {2**31 if pages is None else used + pages}")


@pytest.fixture
def room() -> Any:
    if connection.vendor != "sqlite":
        pytest.skip("Only SQLite can be told how far its file may grow.")
    yield give_room
    give_room(None)


def run(stage: Stage, work: Callable[[Job[Any]], None]) -> Stage:
    with work_on(stage.pk) as job:
        assert job is not None
        work(job)
    stage.refresh_from_db()
    return stage


def test_an_import_that_finds_the_disk_full_goes_on_when_there_is_room(room: Any) -> None:
    project = configure.create_project(name="Letters", task_type="sentiment", owner=make_user())
    texts = [f"{number} {'word ' * 40}".strip() for number in range(5_000)]
    file = SimpleUploadedFile("letters.csv", ("text\n" + "\n".join(texts) + "\n").encode())
    upload = store_upload(project, file, project.owner)
    stage = start_import.start_import(project, upload, ColumnRoles(["text"]), user=project.owner)
    room(400)
    run(stage, start_import.run_import)
    assert (stage.status, stage.crashes) == (Stage.Status.FAILED, 0)
    assert message_text(stage.error).startswith(SENTENCE)
    kept = project.samples.count()
    assert 0 < kept < 5_000

    room(None)
    state.resume(stage)
    assert run(stage, start_import.run_import).status == Stage.Status.DONE
    assert list(project.samples.order_by("position").values_list("text", flat=True)) == texts


def test_a_labeling_run_that_finds_the_disk_full_asks_nothing_twice(
    room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(rows=400)
    monkeypatch.setattr(answer_cache, "BATCH_ROWS", 20)
    model = ScriptedModel(judge_sentiment)
    monkeypatch.setattr(run_labeling, "open_model", lambda *args, **kwargs: model)
    iteration = start_llm_round(project)
    room(20)
    stage = run_llm_stage(iteration)
    assert stage.status == Stage.Status.FAILED
    assert message_text(stage.error).startswith(SENTENCE)
    kept = Prediction.objects.filter(iteration=iteration).count()
    assert 0 < kept < 400

    room(None)
    second = ScriptedModel(judge_sentiment)
    monkeypatch.setattr(run_labeling, "open_model", lambda *args, **kwargs: second)
    state.resume(stage)
    assert run_llm_stage(iteration).status == Stage.Status.DONE
    assert Prediction.objects.filter(iteration=iteration).count() == 400
    assert len(second.asked) <= 400 - kept + 20


@pytest.mark.parametrize("format", ["csv", "xlsx"])
def test_an_export_that_finds_the_disk_full_leaves_no_file(
    format: Any, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    project: Project = make_project(rows=12)
    stage = run_export.start_export(project, user=project.owner, format=format)

    def is_full(_file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", is_full)
        run(stage, run_export.run_export)
    assert stage.status == Stage.Status.FAILED
    assert message_text(stage.error).startswith(SENTENCE)
    assert list(settings.EXPORT_DIR.iterdir()) == []

    state.resume(stage)
    assert run(stage, run_export.run_export).status == Stage.Status.DONE
    assert run_export.export_path(stage).stat().st_size > 0


def test_postgres_without_room_is_known_and_another_failure_is_not() -> None:
    def raised_from(cause: Exception) -> OperationalError:
        error = OperationalError(str(cause))
        error.__cause__ = cause
        return error

    assert is_disk_full(raised_from(psycopg.errors.DiskFull("could not extend file")))
    assert not is_disk_full(raised_from(psycopg.errors.LockNotAvailable("locked")))
    assert not is_disk_full(OSError(errno.EACCES, "denied"))
