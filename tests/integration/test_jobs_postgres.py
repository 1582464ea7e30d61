"""The tests of jobs and of the review queue once more, on PostgreSQL: locks, conditional updates, leases and claims
behave the same there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.conf import settings

from tests.services import PostgresServer


@pytest.mark.services
@pytest.mark.parametrize("tests", ["tests/integration/test_jobs.py", "tests/integration/test_queue.py"])
def test_the_same_tests_hold_on_postgresql(postgres: PostgresServer, tests: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", tests]
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
