from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from annotation.ops.reload import restart_on_change
from annotation.ops.supervisor import Service, Supervisor

SLEEP = ("sleep", "60")


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor(io.StringIO())
    supervisor.start(Service("broker", SLEEP, foundation=True))
    supervisor.start(Service("web", SLEEP))
    yield supervisor
    supervisor.stop()


def _restarted(supervisor: Supervisor) -> list[str]:
    assert isinstance(supervisor.out, io.StringIO)
    return re.findall(r"(\w+) was ended by SIGTERM; it starts again", supervisor.out.getvalue())


@pytest.mark.parametrize("name", ["views.py", "page.html", "django.mo"])
def test_a_changed_source_file_restarts_the_pages_and_not_the_broker(
    supervisor: Supervisor, tmp_path: Path, name: str
) -> None:
    restart_on_change(supervisor, [tmp_path])
    time.sleep(0.5)  # until the folder is watched
    (tmp_path / name).write_text("changed")
    assert supervisor.wait_until(lambda: bool(_restarted(supervisor)), seconds=10)
    assert _restarted(supervisor) == ["web"]


def test_other_files_restart_nothing(supervisor: Supervisor, tmp_path: Path) -> None:
    restart_on_change(supervisor, [tmp_path])
    time.sleep(0.5)
    (tmp_path / "notes.txt").write_text("changed")
    assert not supervisor.wait_until(lambda: bool(_restarted(supervisor)), seconds=2)
