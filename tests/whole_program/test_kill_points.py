"""kill -9 at every point of a run: 200 labels, none twice, at most one batch asked again."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_llm import Call, Step, fake_llm, says
from tests.support.killed_run import BATCH_ROWS, CALLS_AT_ONCE, ROWS
from tests.support.words import WORDS

pytestmark = pytest.mark.slow

QUESTIONS = ROWS + ROWS // 4  # this server gives no log-probabilities, so a quarter is asked twice
ROOT = Path(__file__).resolve().parents[2]


def row_of(call: Call) -> int:
    return int(re.findall(rf"(\d+) (?:{'|'.join(WORDS)})", call.prompt)[-1])


def run(folder: Path, url: str, point: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.support.killed_run", str(folder), url, point]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    "point",
    [
        "before the call",
        "after the answer",
        "before the commit",
        "after the commit",
        "among the second questions",
    ],
)
def test_a_run_that_is_killed_anywhere_ends_with_every_row_labelled_once(tmp_path: Path, point: str) -> None:
    def script(_number: int, call: Call) -> Step:
        step: dict[str, Any] = {name: getattr(says(_name(row_of(call))), name) for name in Step.__slots__}
        return Step(**step | {"delay": 0.005})

    with fake_llm(script) as server:
        killed = run(tmp_path, server.url, point)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        before = len(server.calls)
        done = run(tmp_path, server.url, "never")
        assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (0 < before < ROWS) == (point != "among the second questions")
    assert (result["status"], result["rows"]) == ("done", ROWS)
    assert result["labels"] == {str(row): _name(row) for row in range(ROWS)}
    assert {row_of(call) for call in server.calls} == set(range(ROWS))
    asked = Counter(call.prompt for call in server.calls)
    assert len(asked) == QUESTIONS
    # A batch that was being stored, the calls under way, and two answers a call that may wait to be stored.
    assert asked.total() <= QUESTIONS + BATCH_ROWS + 3 * CALLS_AT_ONCE
    if point in ("after the commit", "among the second questions"):
        assert asked.total() <= QUESTIONS + 3 * CALLS_AT_ONCE


def _name(row: int) -> str:
    return "positive" if row % 2 else "negative"
