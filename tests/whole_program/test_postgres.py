"""The tests of jobs, of the review queue, of stored answers and of files once more, on PostgreSQL: locks, conditional
updates, leases, claims and statements of our own behave the same there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.conf import settings

from tests.support.services import PostgresServer

# By folder, for each run makes a database of its own. Every malformed file is among them.
TESTS = {
    "jobs": ("state", "lease"),
    "pipeline/review": ("queue",),
    "pipeline/label": ("run_labeling", "answer_cache", "later_rounds", "unanswered"),
    "pipeline/ingest": ("run_import", "upload", "interrupted_import", "import_choices"),
    "pipeline/export": ("run_export", "rows", "reimport", "export_kill"),
}


@pytest.mark.services
@pytest.mark.parametrize("folder", TESTS)
def test_the_same_tests_hold_on_postgresql(postgres: PostgresServer, folder: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += [f"tests/annotation/{folder}/test_{name}.py" for name in TESTS[folder]]
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
