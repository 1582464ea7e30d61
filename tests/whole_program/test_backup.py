"""A copy that ``sqlite3 .backup`` makes in the middle of a run, with the keys, is a whole program that goes on."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_llm import Call, Step, fake_llm, says
from tests.support.killed_run import ROWS, TOKEN
from tests.support.services import wait_for
from tests.whole_program.test_kill_points import ROOT, run

pytestmark = pytest.mark.slow

DATABASE = "coral.sqlite3"
COUNT = "SELECT COUNT(*), COUNT(DISTINCT sample_id) FROM annotation_prediction WHERE source = 'llm'"


def answers(folder: Path) -> tuple[int, int]:
    """How many answers there are, and of how many rows."""
    with closing(sqlite3.connect(folder / DATABASE, timeout=20)) as connection:
        try:
            rows, different = connection.execute(COUNT).fetchone()
        except sqlite3.OperationalError:  # the tables are still being made
            return 0, 0
        return rows, different


def back_up(folder: Path, to: Path) -> None:
    """What ``sqlite3 coral.sqlite3 ".backup copy.sqlite3"`` does, and the keys."""
    with (
        closing(sqlite3.connect(folder / DATABASE)) as source,
        closing(sqlite3.connect(to / DATABASE)) as copy,
    ):
        source.backup(copy)
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for name in ("secret.key", "token.key"):
        shutil.copy(folder / name, to / name)


def test_a_backup_in_mid_run_opens_and_its_run_goes_on_and_nothing_holds_the_token(tmp_path: Path) -> None:
    def script(_number: int, _call: Call) -> Step:
        step: dict[str, Any] = {name: getattr(says("positive"), name) for name in Step.__slots__}
        return Step(**step | {"delay": 0.02})

    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    with fake_llm(script) as server:
        command = [sys.executable, "-m", "tests.support.killed_run", str(here), server.url, "never"]
        running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wait_for(lambda: answers(here)[0] > 0, seconds=60, what="the first answers")
        back_up(here, there)
        said, _nothing = running.communicate(timeout=120)
        assert running.returncode == 0, said
        rows, different = answers(there)
        assert 0 < rows == different < ROWS, "it was made in the middle"
        done = run(there, server.url, "never")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["status"], result["rows"]) == ("done", ROWS)
    tokens = {call.headers.get("authorization") or call.headers.get("Authorization") for call in server.calls}
    assert tokens == {f"Bearer {TOKEN}"}, "both runs could read it"
    assert TOKEN.encode() not in said + done.stdout.encode() + done.stderr.encode()
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path
