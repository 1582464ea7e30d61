"""Files that several machines need are sent to the store and brought from it; with one shared folder nothing is copied."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from annotation.errors import AnnotationError
from annotation.files import data_store
from tests.support.machines import Machines


@pytest.fixture
def machines(settings: Any, tmp_path: Path) -> Machines:
    return Machines(settings, tmp_path)


def written(path: Path, content: str = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_a_shared_folder_needs_no_store(tmp_path: Path) -> None:
    path = written(tmp_path / "uploads" / "a")
    data_store.send(path)
    assert data_store.bring(path)
    assert data_store.is_kept(path)
    assert not data_store.bring(tmp_path / "uploads" / "b")
    assert not data_store.bring_folder(tmp_path / "runs" / "1", last="keys.npy")
    data_store.drop_copies(tmp_path / "uploads", but=set())
    assert path.exists()


def test_a_file_sent_by_one_machine_is_brought_by_another(machines: Machines, settings: Any) -> None:
    machines.go_to("a")
    data_store.send(written(settings.UPLOAD_DIR / "1"))
    machines.go_to("b")
    assert not (settings.UPLOAD_DIR / "1").exists()
    assert data_store.is_kept(settings.UPLOAD_DIR / "1")
    assert data_store.bring(settings.UPLOAD_DIR / "1")
    assert (settings.UPLOAD_DIR / "1").read_text() == "text"
    assert not data_store.bring(settings.UPLOAD_DIR / "2")


def test_a_folder_is_brought_whole_and_its_named_file_last(
    machines: Machines, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines.go_to("a")
    for name in ("a.npy", "keys.npy", "model/config.json", "z.npy"):
        written(settings.RUN_DIR / "1" / name, name)
    data_store.send(settings.RUN_DIR / "1")
    machines.go_to("b")
    folder, brought = settings.RUN_DIR / "1", list[Path]()
    bring = data_store.bring

    def noted(path: Path) -> bool:
        brought.append(path)
        return bring(path)

    monkeypatch.setattr(data_store, "bring", noted)
    assert data_store.bring_folder(folder, last="keys.npy")
    assert brought[-1] == folder / "keys.npy"
    assert sorted(path.name for path in folder.rglob("*.*")) == ["a.npy", "config.json", "keys.npy", "z.npy"]
    assert (folder / "model" / "config.json").read_text() == "model/config.json"


def test_only_files_that_the_store_lacks_are_sent_again(machines: Machines, settings: Any) -> None:
    machines.go_to("a")
    written(settings.CACHE_DIR / "features" / "one" / "1.npy")
    assert data_store.send_new(settings.CACHE_DIR / "features") == ["cache/features/one/1.npy"]
    written(settings.CACHE_DIR / "features" / "one" / "2.npy")
    written(settings.CACHE_DIR / "features" / "one" / "3.npy.7.tmp")  # somebody is writing it
    assert data_store.send_new(settings.CACHE_DIR / "features") == ["cache/features/one/2.npy"]


def test_what_is_dropped_is_gone_everywhere(machines: Machines, settings: Any) -> None:
    machines.go_to("a")
    written(settings.RUN_DIR / "1" / "model" / "config.json")
    data_store.send(settings.RUN_DIR / "1")
    data_store.drop(settings.RUN_DIR / "1")
    assert not (settings.RUN_DIR / "1").exists()
    assert [path for path in machines.store.rglob("*") if path.is_file()] == []


def test_old_files_leave_the_store(machines: Machines, settings: Any) -> None:
    machines.go_to("a")
    for name in ("old", "new"):
        data_store.send(written(settings.EXPORT_DIR / name))
    os.utime(machines.store / "exports" / "old", (1, 1))
    assert data_store.drop_older(settings.EXPORT_DIR, time.time() - 60) == 1
    assert [path.name for path in (machines.store / "exports").iterdir()] == ["new"]


def test_copies_that_nobody_needed_for_a_day_go_and_come_again(machines: Machines, settings: Any) -> None:
    machines.go_to("a")
    kept, needed = written(settings.RUN_DIR / "1" / "keys.npy"), written(settings.RUN_DIR / "2" / "keys.npy")
    fresh = written(settings.RUN_DIR / "3" / "keys.npy")
    for path in (kept, needed, fresh):
        data_store.send(path)
    for path in (kept, kept.parent, needed, needed.parent):
        os.utime(path, (1, 1))
    data_store.drop_copies(settings.RUN_DIR, but={"1"})
    assert (kept.exists(), needed.exists(), fresh.exists()) == (True, False, True)
    assert data_store.bring(needed)


def test_files_are_brought_in_the_background_for_a_page(machines: Machines, settings: Any) -> None:
    machines.go_to("a")
    data_store.send(written(settings.RUN_DIR / "1" / "keys.npy"))
    machines.go_to("b")
    path = settings.RUN_DIR / "1" / "keys.npy"
    assert not data_store.bring_soon(path)
    deadline = time.monotonic() + 10
    while not data_store.bring_soon(path) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.read_text() == "text"


def test_what_the_store_said_is_told(machines: Machines, settings: Any) -> None:
    machines.go_to("a")
    path = written(settings.UPLOAD_DIR / "1")
    machines.store.rmdir()
    machines.store.write_text("no folder")
    with pytest.raises(AnnotationError, match="CORAL_STORE"):
        data_store.send(path)
