"""A worker that is killed while it writes an export: no half file is offered, and the next attempt makes a whole one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from annotation.errors import NotReadyError
from annotation.jobs.reaper import reap
from annotation.jobs.work import work_on
from annotation.models import Stage
from annotation.pipeline.export import run_export
from tests.support.factories import make_project

KILLED = """
import os, signal, sys
import django
django.setup()
from django.conf import settings
from django.db import connections
from pathlib import Path
connections["default"].settings_dict["NAME"] = sys.argv[1]
settings.EXPORT_DIR = Path(sys.argv[2])
from annotation.jobs.work import work_on
from annotation.pipeline.export import rows, run_export
rows.READ_ROWS = 4
parts, left = rows.parts_by_key, [3]
def die_in_the_third_part(*arguments):
    for part in parts(*arguments):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        yield part
rows.parts_by_key = die_in_the_third_part
with work_on(int(sys.argv[3])) as job:
    run_export.run_export(job)
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("format", ["jsonl", "xlsx"])
def test_an_export_that_is_killed_is_written_anew_and_never_offered_half(
    format: Any, settings: Any, tmp_path: Path
) -> None:
    project = make_project(rows=12)
    stage = run_export.start_export(project, user=project.owner, format=format)
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            KILLED,
            str(connection.settings_dict["NAME"]),
            str(settings.EXPORT_DIR),
            str(stage.pk),
        ],
        cwd=settings.BASE_DIR,
        env=os.environ
        | {
            "DJANGO_SETTINGS_MODULE": "coral_site.settings",
            "CORAL_DATA_DIR": str(tmp_path),
            "REDIS_URL": "unix://" + str(tmp_path / "nobody.sock"),
            "CORAL_LOG_LEVEL": "CRITICAL",
        },
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL
    left_behind = list(settings.EXPORT_DIR.iterdir())
    assert left_behind
    assert not [path for path in left_behind if path.suffix == f".{format}"]
    stage.refresh_from_db()
    with pytest.raises(NotReadyError, match="not finished yet"):
        run_export.export_path(stage)

    Stage.objects.filter(pk=stage.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert reap() == 1
    with work_on(stage.pk) as job:
        assert job is not None
        run_export.run_export(job)
    stage.refresh_from_db()
    assert (stage.status, stage.done, stage.attempt) == (Stage.Status.DONE, 12, 2)
    path = run_export.export_path(stage)
    assert list(settings.EXPORT_DIR.iterdir()) == [path]
    if format == "jsonl":
        ids = [json.loads(line)["id"] for line in path.read_text("utf-8").splitlines()]
        assert ids == [f"r{number}" for number in range(12)]
