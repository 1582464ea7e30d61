"""Live progress: tell open pages that a stage's row has changed, and what they then show of it.

A notification carries nothing: pages read the row again, so reload, reconnect and push can't disagree, and a lost one
costs a few seconds at most (the consumer polls the row by itself).
"""

from __future__ import annotations

from typing import Any

from annotation.jobs.broker import worker_seen
from annotation.jobs.details import Detail, Json, TrainingDetail, stage_cost
from annotation.jobs.kinds import detail_of, keys, kind_of
from annotation.jobs.round_metrics import RoundMetrics
from annotation.jobs.turns import queue_of
from annotation.live import stage_figures
from annotation.models import Stage


def stage_context(stage: Stage) -> dict[str, Any]:
    """What ``annotation/jobs/_stage_progress.html`` shows; the page that includes it and the consumer that pushes it agree."""
    return {
        "stage": stage,
        "kind": kind_of(stage),
        "project": stage.project,
        "rate": stage_figures.stage_rate(stage),
        "seconds_left": stage_figures.seconds_left(stage),
        "detail": detail_of(stage),
        "cost": stage_cost(stage),
        "cost_when_done": stage_figures.cost_when_done(stage),
        "clean_share": _clean_share(stage),
        "worker_missing": stage.status == Stage.Status.QUEUED and worker_seen(queue_of(stage)) is False,
        "not_followed": _not_followed(stage),
    }


def _not_followed(stage: Stage) -> Json | str:
    """Why what was to follow the stage could not be started, as long as nothing else has followed it."""
    why = Detail.of(stage).not_followed
    steps = keys(lambda kind: kind.is_step)
    if why and stage.project.stages.filter(pk__gt=stage.pk, kind__in=steps).exists():
        return ""
    return why


def _clean_share(stage: Stage) -> float | None:
    """While a training runs, what its epoch learns from as clean; afterwards, what the table shows as clean."""
    of_epoch = TrainingDetail.of(stage).clean_share
    if stage.status != Stage.Status.DONE or stage.iteration is None:
        return of_epoch
    shown = RoundMetrics.of(stage.iteration).slm.clean_share
    return of_epoch if shown is None else shown
