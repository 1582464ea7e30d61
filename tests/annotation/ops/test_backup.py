"""Backup and restore: everything comes back, nothing that is there is overwritten."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.services import PostgresServer

ROOT = Path(__file__).resolve().parents[3]
MAKE = (
    "from django.contrib.auth.models import User; from annotation.models import Project;"
    "Project.objects.create(name='Letters', owner=User.objects.create_user('olga'))"
)


def coral(folder: Path, *command: str, database: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CORAL_DATA_DIR": str(folder), "DATABASE_URL": database}
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def projects(folder: Path) -> list[tuple[str]]:
    with sqlite3.connect(folder / "coral.sqlite3") as database:
        return database.execute("SELECT name FROM annotation_project").fetchall()


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    coral(folder, "migrate", "--verbosity", "0")
    coral(folder, "shell", "-c", MAKE)
    (folder / "uploads").mkdir(exist_ok=True)
    (folder / "uploads" / "letters.csv").write_text("id,text\n1,hello\n")
    return folder


def test_a_backup_brings_everything_back_into_an_empty_folder(old: Path, tmp_path: Path) -> None:
    backup, new = tmp_path / "coral.tar", tmp_path / "new"
    made = coral(old, "backup", str(backup), "--keys")
    assert made.returncode == 0, made.stderr
    assert backup.stat().st_mode & 0o077 == 0
    brought = coral(new, "restore", str(backup))
    assert brought.returncode == 0, brought.stderr
    assert projects(new) == [("Letters",)]
    assert (new / "uploads" / "letters.csv").read_text() == "id,text\n1,hello\n"
    assert (new / "token.key").read_text() == (old / "token.key").read_text()


def test_keys_are_in_it_on_request_only(old: Path, tmp_path: Path) -> None:
    backup = tmp_path / "coral.tar"
    assert "keys are not in it" in coral(old, "backup", str(backup)).stdout
    with tarfile.open(backup) as archive:
        assert not [name for name in archive.getnames() if name.endswith(".key")]


def test_a_backup_ends_while_another_process_writes_without_end(old: Path, tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sqlite3, sys\n"
            "db = sqlite3.connect(sys.argv[1], timeout=20)\n"
            "while True:\n"
            "    with db: db.execute('UPDATE annotation_project SET guidelines = hex(randomblob(2000))')\n",
            str(old / "coral.sqlite3"),
        ]
    )
    try:
        assert coral(old, "backup", str(tmp_path / "coral.tar")).returncode == 0
    finally:
        writer.kill()
        writer.wait()


def test_what_is_there_is_never_overwritten(old: Path, tmp_path: Path) -> None:
    backup = tmp_path / "coral.tar"
    coral(old, "backup", str(backup))
    refused = coral(old, "restore", str(backup))
    assert refused.returncode != 0
    assert "There is data in" in refused.stderr
    assert projects(old) == [("Letters",)]


def test_another_file_is_refused_in_words(tmp_path: Path) -> None:
    other = tmp_path / "letters.csv"
    other.write_text("id,text\n")
    refused = coral(tmp_path / "new", "restore", str(other))
    assert refused.returncode != 0
    assert "can't be read as a backup" in refused.stderr


@pytest.mark.services
def test_a_backup_of_postgresql_comes_back_into_an_empty_database(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    old, new = postgres.make_database("backed_up"), postgres.make_database("restored")
    backup = str(tmp_path / "coral.tar")
    coral(tmp_path / "old", "migrate", "--verbosity", "0", database=old)
    coral(tmp_path / "old", "shell", "-c", MAKE, database=old)
    assert coral(tmp_path / "old", "backup", backup, database=old).returncode == 0
    refused = coral(tmp_path / "sqlite", "restore", backup)
    assert "The backup is of postgresql" in refused.stderr
    brought = coral(tmp_path / "new", "restore", backup, database=new)
    assert brought.returncode == 0, brought.stderr
    show = "from annotation.models import Project; print(Project.objects.get().owner.username)"
    assert "olga" in coral(tmp_path / "new", "shell", "-c", show, database=new).stdout
    assert "There is data in" in coral(tmp_path / "new", "restore", backup, database=new).stderr
