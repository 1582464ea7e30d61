"""Start a try-out, in which a few rows are asked before a run, or the test of a connection. Light, since pages import it."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.utils.translation import gettext_noop

from annotation.errors import NotReadyError
from annotation.jobs import kinds, state
from annotation.jobs.details import ComparisonDetail, ConnectionTestDetail
from annotation.models import Connection, ConnectionSettings, Project, Stage
from annotation.pipeline.measure.accuracy import FEW_ROWS
from annotation.pipeline.measure.annotations import blind_answers
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


def start_connection_test(
    project: Project, *, user: User | None, connection: Connection | None = None
) -> Stage:
    """Queue a test of a connection, by default the project's own; it needs neither rows nor labels.

    Raises:
        NotReadyError, ModelUnavailableError: a token is missing, or the host is not allowed.
        BusyError: a test is at work already.
    """
    check_connection(connection or project)
    detail = ConnectionTestDetail(connection=connection.pk if connection else 0)
    return state.create_stage(project, kinds.CONNECTION_TEST, total=1, user=user, detail=detail)


def start_comparison(project: Project, *, user: User | None, connection: Connection | None = None) -> Stage:
    """Queue the question to a model about the rows that people answered blind, with the prompt as it is now.

    Raises:
        NotReadyError, ModelUnavailableError: too few such rows, or something of the connection is missing.
        BusyError: a comparison is at work already.
    """
    check_connection(connection or project)
    rows = len(blind_answers(project))
    if rows < FEW_ROWS:
        raise NotReadyError(
            "People have answered %(rows)s rows of the random sample; a comparison needs at least %(least)s. "
            "Answer more on the Accuracy page.",
            rows=rows,
            least=FEW_ROWS,
        )
    detail = ComparisonDetail(
        connection=connection.pk if connection else 0,
        name=connection.name if connection else "",
        asked_with=decides_trial(project, connection),
    )
    return state.create_stage(project, kinds.COMPARISON, total=rows, user=user, detail=detail)


def decides_trial(project: Project, connected: ConnectionSettings | None = None) -> dict[str, Any]:
    """What decides a model's answers, as it is now: with anything else they are of other settings."""
    frozen, model = project.round_settings(), (connected or project).llm_config.as_dict()
    return {
        "model": [
            model[name] for name in ("kind", "model", "base_url", "provider", "extra_body", "text_characters")
        ],
        "prompt": frozen["prompt"],
        "labels": frozen["labels"],
    }
