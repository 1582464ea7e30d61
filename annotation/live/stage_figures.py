"""Rate, time left and cost of a stage, for its progress card."""

from __future__ import annotations

from annotation.models import Stage

MIN_RATE_ROWS = 10  # fewer tell nothing of the rate


def stage_rate(stage: Stage) -> float:
    """Rows per second in this stage; 0 until enough is known. Rows that kept an earlier round's answer don't count. While
    it runs, what came before its rows (loading a model, choosing demonstrations) and what earlier attempts did are left
    out."""
    if stage.status != Stage.Status.RUNNING:
        asked = max(0, stage.done - stage.detail_value("kept", 0))
        return asked / stage.seconds if stage.seconds else 0.0
    done = stage.done - stage.detail_value("done_before", 0)
    seconds = _running_seconds(stage) - stage.detail_value("began_after", 0.0)
    return done / seconds if done >= MIN_RATE_ROWS and seconds > 0 else 0.0


def _running_seconds(stage: Stage) -> float:
    return (stage.updated_at - stage.started_at).total_seconds() if stage.started_at else 0.0


def seconds_left(stage: Stage) -> float | None:
    """A guess from the rate so far; None before there is one."""
    if stage.detail_value("seconds_left") is not None:
        return float(stage.detail_value("seconds_left"))
    rate = stage_rate(stage)
    return (stage.total - stage.done) / rate if rate else None


def cost_when_done(stage: Stage) -> float | None:
    """What a labeling that runs will have cost, if the rows left cost as much as those of this attempt; None before that is
    known. What answers from the cache saved so far is taken to go on."""
    before = stage.detail_value("tokens_before")
    done = stage.done - stage.detail_value("done_before", 0)
    is_labeling = stage.status == Stage.Status.RUNNING and stage.phase == "labeling"
    if not is_labeling or before is None or done < MIN_RATE_ROWS:
        return None
    spent = stage.cost
    began = stage.cost_of(*before)
    if spent is None or began is None:
        return None
    return float(spent + (stage.total - stage.done) * (spent - began) / done)
