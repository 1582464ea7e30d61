"""Start the SLM stage of a round."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from annotation.jobs import state
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
    with state.one_at_a_time(_("The filtering of this round was started already.")):
        return make_round_stage(iteration, kind=Stage.Kind.SLM, user=user)


def make_round_stage(iteration: Iteration, *, kind: str, user: User | None) -> Stage:
    stage = Stage.objects.create(
        project=iteration.project,
        iteration=iteration,
        kind=kind,
        requested_by=user,
        total=iteration.project.samples.count(),
    )
    state.submit(stage)
    return stage
