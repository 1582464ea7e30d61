"""Live progress: tell open pages that a stage's row has changed, and what they then show of it.

A notification carries nothing: pages read the row again, so reload, reconnect and push can't disagree, and a lost one
costs a few seconds at most (the consumer polls the row by itself).
"""

from __future__ import annotations

from typing import Any

from annotation.jobs.broker import worker_seen
from annotation.jobs.kinds import keys, kind_of
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
        "cost": stage.cost,
        "cost_when_done": stage_figures.cost_when_done(stage),
        "clean_share": _clean_share(stage),
        "worker_missing": stage.status == Stage.Status.QUEUED and worker_seen(kind_of(stage).queue) is False,
        "not_followed": _not_followed(stage),
    }


def _not_followed(stage: Stage) -> str:
    """Why what was to follow the stage could not be started, as long as nothing else has followed it."""
    why: str = stage.detail_value("not_followed", "")
    steps = keys(lambda kind: kind.is_step)
    if why and stage.project.stages.filter(pk__gt=stage.pk, kind__in=steps).exists():
        return ""
    return why


def _clean_share(stage: Stage) -> float | None:
    """While a training runs, what its epoch learns from as clean; afterwards, what the table shows as clean."""
    of_epoch: float | None = stage.detail_value("clean_share")
    if stage.status != Stage.Status.DONE or stage.iteration is None:
        return of_epoch
    shown: float | None = stage.iteration.metrics.get("slm", {}).get("clean_share", of_epoch)
    return shown
