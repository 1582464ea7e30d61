"""Settings that follow from other settings."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SHOW = "from coral_site import settings; print(settings.LLM_ALLOWED_HOSTS)"


@pytest.mark.parametrize(
    ("environment", "allowed"),
    [
        ({}, "['127.0.0.1', 'localhost', '[::1]']"),
        ({"CORAL_BIND": "[::1]:8000"}, "['127.0.0.1', 'localhost', '[::1]']"),
        ({"CORAL_HTTPS": "1"}, "[]"),
        ({"CORAL_BIND": "0.0.0.0:8000"}, "[]"),
        ({"CORAL_HTTPS": "1", "CORAL_LLM_ALLOWED_HOSTS": "localhost:11434"}, "['localhost:11434']"),
    ],
)
def test_projects_of_a_site_that_is_served_to_others_may_call_no_port_of_the_server(
    environment: dict[str, str], allowed: str
) -> None:
    others = {key: value for key, value in os.environ.items() if not key.startswith("CORAL_")}
    done = subprocess.run(
        [sys.executable, "-c", SHOW], env=others | environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == allowed, done.stderr
