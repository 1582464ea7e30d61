"""Rate, time left and cost of a stage, for its progress card."""

from __future__ import annotations

from annotation.jobs.details import Detail, LabelingDetail, stage_cost
from annotation.models import Stage

MIN_RATE_ROWS = 10  # fewer tell nothing of the rate


def stage_rate(stage: Stage) -> float:
    """Rows per second in this stage; 0 until enough is known. Rows that kept an earlier round's answer don't count. While
    it runs, what came before its rows (loading a model, choosing demonstrations) and what earlier attempts did are left
    out."""
    if stage.status != Stage.Status.RUNNING:
        asked = max(0, stage.done - LabelingDetail.of(stage).kept)
        return asked / stage.seconds if stage.seconds else 0.0
    detail = Detail.of(stage)
    done = stage.done - detail.done_before
    seconds = _running_seconds(stage) - detail.began_after
    return done / seconds if done >= MIN_RATE_ROWS and seconds > 0 else 0.0


def _running_seconds(stage: Stage) -> float:
    return (stage.updated_at - stage.started_at).total_seconds() if stage.started_at else 0.0


def seconds_left(stage: Stage) -> float | None:
    """A guess from the rate so far; None before there is one."""
    if (estimated := Detail.of(stage).seconds_left) is not None:
        return estimated
    rate = stage_rate(stage)
    return (stage.total - stage.done) / rate if rate else None


def cost_when_done(stage: Stage) -> float | None:
    """What a labeling that runs will have cost, if the rows left cost as much as those of this attempt; None before that is
    known. What answers from the cache saved so far is taken to go on."""
    detail = LabelingDetail.of(stage)
    before, done = detail.tokens_before, stage.done - detail.done_before
    is_labeling = stage.status == Stage.Status.RUNNING and stage.phase == "labeling"
    if not is_labeling or before is None or done < MIN_RATE_ROWS:
        return None
    spent, began = stage_cost(stage), detail.cost(*before)
    if spent is None or began is None:
        return None
    return float(spent + (stage.total - stage.done) * (spent - began) / done)
