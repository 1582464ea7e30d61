"""Start a try-out, in which a few rows are asked before a run, or the test of a connection. Light, since pages import it."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.utils.translation import gettext_noop

from annotation.jobs import kinds, state
from annotation.models import Project, Stage
from annotation.pipeline.project.readiness import check_connection, check_trial_ready

TRIAL_ROWS = 20


def start_trial(project: Project, *, user: User | None) -> Stage:
    """Queue a trial of the settings as they are now.

    Raises:
        NotReadyError, ModelUnavailableError: something that a run needs is missing; the sentence says what.
        BusyError: a stage or a trial is at work already.
    """
    check_trial_ready(project)
    total = min(TRIAL_ROWS, project.samples.count())
    busy = gettext_noop(
        "A trial run is already running or paused. Wait until it is done, resume it, or cancel it."
    )
    return state.create_stage(project, kinds.TRIAL, total=total, user=user, busy=busy)


def start_connection_test(project: Project, *, user: User | None) -> Stage:
    """Queue a test of the project's connection; it needs neither rows nor labels.

    Raises:
        NotReadyError, ModelUnavailableError: a token is missing, or the host is not allowed.
        BusyError: a test is at work already.
    """
    check_connection(project)
    return state.create_stage(project, kinds.CONNECTION_TEST, total=1, user=user)


def decides_trial(project: Project) -> dict[str, Any]:
    """What decides a trial's answers, as it is now: with anything else they are of other settings."""
    frozen, model = project.round_settings(), project.llm_config.as_dict()
    return {
        "model": [
            model[name] for name in ("kind", "model", "base_url", "provider", "extra_body", "text_characters")
        ],
        "prompt": frozen["prompt"],
        "labels": frozen["labels"],
    }
