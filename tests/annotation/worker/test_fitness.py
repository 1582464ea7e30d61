"""A worker whose machine does not fit the others takes no work, and says why."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from annotation.jobs.lease import machine_name
from annotation.management.commands import worker
from annotation.models import Deployment, DrainedMachine
from annotation.worker import fitness
from annotation.worker.fitness import misfits, record_deployment

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _recorded(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    record_deployment()


def another_version(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr(fitness, "__version__", "0.1.0")


def another_key(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.TOKEN_KEYS = ["another"]


def another_folder(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.DATA_DIR = settings.DATA_DIR / "other"
    settings.DATA_DIR.mkdir()


def a_wrong_clock(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    real = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: real() - timedelta(minutes=2))


@pytest.mark.parametrize(
    ("amiss", "sentence"),
    [
        (another_version, "This machine has version 0.1.0, the web server 0.2"),
        (another_key, "Set the same CORAL_TOKEN_KEYS"),
        (another_folder, "is not the web server's. Share one folder"),
        (a_wrong_clock, "clock differs by -1"),
    ],
)
def test_a_machine_that_does_not_fit_says_why(
    amiss: Callable[[pytest.MonkeyPatch, Any], None],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
) -> None:
    assert misfits() == []
    amiss(monkeypatch, settings)
    (found,) = misfits()
    assert sentence in found


def test_a_drained_machine_takes_no_work_until_it_is_taken_back() -> None:
    drained = DrainedMachine.objects.create(name=machine_name())
    DrainedMachine.objects.create(name="another")
    (found,) = misfits()
    assert "drained this machine" in found
    drained.delete()
    assert misfits() == []


@pytest.mark.parametrize("applied", [True, False])
def test_tables_of_another_version_are_left_alone(applied: bool) -> None:
    recorder = MigrationRecorder(connection)
    newest = max(name for app, name in recorder.applied_migrations() if app == "annotation")
    name = "9999_of_a_later_version" if applied else newest
    change, back = recorder.record_applied, recorder.record_unapplied
    if not applied:
        change, back = back, change
    change("annotation", name)
    try:
        assert len(misfits()) == 1
    finally:
        back("annotation", name)
    assert misfits() == []


def test_a_web_server_of_a_new_version_is_what_counts_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitness, "__version__", "9.0")
    record_deployment()
    assert misfits() == []
    assert Deployment.objects.get().version == "9.0"


def test_a_worker_waits_until_its_machine_fits(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "UNFIT_SECONDS", 0.02)
    mark = (tmp_path / fitness.MARK).read_text()
    (tmp_path / fitness.MARK).write_text("another")
    waiting = threading.Thread(target=worker.wait_until_fit, args=(threading.Event(),), daemon=True)
    with caplog.at_level(logging.ERROR):
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        (tmp_path / fitness.MARK).write_text(mark)
        waiting.join(5)
    assert not waiting.is_alive()
    assert [record.getMessage() for record in caplog.records] == [
        f"This worker takes no work. The data folder {tmp_path} is not the web server's. Share one folder between all "
        "machines, and set CORAL_DATA_DIR to where it is mounted."
    ]


def test_a_worker_stops_whose_machine_fits_no_longer(
    monkeypatch: pytest.MonkeyPatch, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "FITNESS_SECONDS", 0.0)
    monkeypatch.setattr(worker, "REAP_SECONDS", 0.01)
    another_key(monkeypatch, settings)
    over = threading.Event()
    worker.reap_until(over, ["llm"])
    assert over.is_set()
    assert "This worker stops. The key" in caplog.text
