"""The tests of jobs, of the review queue, of stored answers and of files once more, on PostgreSQL: locks, conditional
updates, leases, claims and statements of our own behave the same there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.conf import settings

from tests.support.services import PostgresServer


@pytest.mark.services
@pytest.mark.parametrize(
    "tests",
    [
        *("jobs/test_state", "jobs/test_lease"),
        "pipeline/review/test_queue",
        *(f"pipeline/label/test_{name}" for name in ("run_labeling", "answer_cache", "later_rounds")),
        *(
            f"pipeline/ingest/test_{name}"
            for name in ("run_import", "upload", "interrupted_import", "import_choices")
        ),
        # Every malformed file among them.
        *(f"pipeline/export/test_{name}" for name in ("run_export", "rows", "reimport", "export_kill")),
    ],
)
def test_the_same_tests_hold_on_postgresql(postgres: PostgresServer, tests: str) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        f"tests/annotation/{tests}.py",
    ]
    done = subprocess.run(
        command,
        env={**os.environ, "DATABASE_URL": postgres.url},
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
