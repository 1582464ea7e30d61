"""Which rows a round asks the LLM about, where that is a share of them: random ones first, then the riskiest."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from django.db.models import F

from annotation.models.sql import among
from annotation.pipeline.label.demonstrations import draw_rows
from annotation.pipeline.label.unanswered import asks_all

if TYPE_CHECKING:
    from annotation.pipeline.label.session import LabelingRun

WRITE_ROWS = 2_000


def rows_asked(rows: int, percent: int) -> int:
    """How many of so many rows a round asks about at most."""
    return math.ceil(rows * percent / 100)


def choose_asked_rows(run: LabelingRun) -> None:
    """Mark the rows that this round asks about; nothing is marked where it asks about all.

    A round that is killed here marks the same rows when it goes on.
    """
    iteration, project = run.iteration, run.iteration.project
    if asks_all(iteration) or run.progress.detail.rows_chosen:
        return
    rows = project.samples.count()
    count = rows_asked(rows, run.config.asked_percent)
    if project.samples.filter(risk__isnull=False).exists() and not iteration.ask_all:
        riskiest = project.samples.at_risk().order_by(F("risk").desc(nulls_last=True), "position")
        keys = list(riskiest.values_list("pk", flat=True)[:count])
    else:
        # Clusters of similar texts held no more classes than chance (BANKING77: 56 and 56 of 77 in 100 rows). The rows that
        # the demonstrations come from are the first of the same drawing, so they are not asked about in addition.
        keys = draw_rows(project, seed=iteration.seed, size=count)
    for start in range(0, len(keys), WRITE_ROWS):
        with run.lease.piece():
            part = project.samples.filter(pk__in=among(keys[start : start + WRITE_ROWS]))
            part.update(llm_round=iteration.number)
    run.progress.report(
        detail=replace(run.progress.detail, rows_chosen=len(keys), chosen_of=rows), force=True
    )
