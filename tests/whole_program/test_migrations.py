"""A database of the first version, with people's work in it, brought up to the newest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dj_database_url
import pytest
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from tests.support.services import PostgresServer

pytestmark = pytest.mark.slow

FIRST = [("annotation", "0001_initial")]
KEPT = {
    "annotation_sample": "position, text, label_id, source, llm_label_id, slm_label_id, corrected_by_id, version",
    "annotation_prediction": "sample_id, iteration_id, source, label_id, raw",
    "annotation_correction": "sample_id, user_id, label_id, replaced_source",
    "annotation_stage": "iteration_id, kind, status, done",
    "annotation_project": "name, owner_id, llm_token",
}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.services)])
def old(
    request: pytest.FixtureRequest, django_db_blocker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """A database of its own."""
    # Playwright keeps an event loop in this thread until the last test; nothing of it runs meanwhile.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    if request.param == "sqlite":
        own: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "old.sqlite3")}
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        own = {**dj_database_url.parse(server.make_database(tmp_path.name))}
    connections.settings["old"] = {**connections.settings["default"], "OPTIONS": {}, **own}
    with django_db_blocker.unblock():
        yield connections["old"]
        connections["old"].close()
    del connections["old"], connections.settings["old"]


def migrate(database: Any, targets: list[tuple[str, str]]) -> Any:
    """The models as they are at these migrations."""
    executor = MigrationExecutor(database)
    executor.migrate(targets)
    return MigrationExecutor(database).loader.project_state(targets).apps


def rows(database: Any) -> dict[str, list[Any]]:
    found = {}
    with database.cursor() as cursor:
        for table, columns in KEPT.items():
            cursor.execute(f"SELECT id, {columns} FROM {table} ORDER BY id")
            found[table] = list(cursor.fetchall())
    return found


def fill(apps: Any) -> None:
    def make(model: str, **values: Any) -> Any:
        return apps.get_model("annotation", model).objects.using("old").create(**values)

    user = apps.get_model("auth", "User").objects.using("old").create(username="olga")
    project = make("Project", name="Letters", owner=user, columns=["text"], content_columns=["text"])
    label = make("Label", project=project, name="praise")
    frozen: dict[str, Any] = {"labels": [], "prompt": {}, "llm_settings": {}, "slm_settings": {}}
    iteration = make("Iteration", project=project, number=1, started_from="llm", **frozen)
    # A run that the old program had begun, and an export that waited, when it was stopped for the update.
    make("Stage", project=project, iteration=iteration, kind="llm", status="running", done=5, attempt=2)
    make("Stage", project=project, kind="export", status="queued", detail={"format": "csv"})
    for place in range(20):
        sample = make("Sample", project=project, position=place, text=f"row {place}", fields=[], label=label)
        make("Prediction", sample=sample, iteration=iteration, source="llm", label=label, raw="praise")
        make("Correction", sample=sample, user=user, label=label, replaced_source="llm")


def test_the_data_of_the_first_version_survive_each_update(old: Any) -> None:
    fill(migrate(old, FIRST))
    before = rows(old)
    assert len(before["annotation_correction"]) == 20
    graph = MigrationExecutor(old).loader.graph
    newest = next(key for key in graph.leaf_nodes() if key[0] == "annotation")
    for key in graph.forwards_plan(newest):
        if key[0] == "annotation":  # one at a time: an update may be cut off after any of them
            migrate(old, [key])
            assert rows(old) == before, key
    executor = MigrationExecutor(old)
    assert not executor.migration_plan([newest])
    stage = executor.loader.project_state([newest]).apps.get_model("annotation", "Stage")
    begun = stage.objects.using("old").get(kind="llm")
    assert (begun.status, begun.attempt, begun.resume_at) == ("running", 2, None)
