"""Start the SLM stage of a round."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.utils.translation import gettext_noop

from annotation.jobs import kinds, state
from annotation.models import Iteration, Stage
from annotation.pipeline.project.readiness import check_idle, check_labelled


def start_filtering(iteration: Iteration, *, user: User | None) -> Stage:
    """Start the SLM stage of a round whose LLM stage has ended.

    Raises:
        NotReadyError: the LLM has labelled nothing yet.
        BusyError: a stage is at work, or this round's filtering was started already.
    """
    check_idle(iteration.project)
    check_labelled(iteration.project)
    return state.create_stage(
        iteration.project,
        kinds.SLM,
        iteration=iteration,
        total=iteration.project.samples.count(),
        user=user,
        busy=gettext_noop("SLM filtering of this round has already started."),
    )


def follow_labeling(stage: Stage) -> None:
    """Start the SLM stage of the round that an LLM stage has labelled, if the project goes on by itself."""
    if stage.iteration and stage.project.chain_stages:
        start_filtering(stage.iteration, user=stage.requested_by)


def follow_taking(stage: Stage) -> None:
    """Start the SLM stage once labels that existed are taken: its errors are what they were taken for."""
    if iteration := stage.project.latest_iteration():
        start_filtering(iteration, user=stage.requested_by)
