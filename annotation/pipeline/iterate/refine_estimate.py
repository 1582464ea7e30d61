"""What a round from the LLM will take, and whether there is anything new to learn, before it is started."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Exists

from annotation.jobs import kinds
from annotation.jobs.details import LabelingDetail, stage_cost
from annotation.models import CorrectionBatch, Iteration, Project


@dataclass(frozen=True, slots=True)
class RefineEstimate:
    """``tokens`` and ``money`` are None where no earlier run tells them; ``has_news``: whether a person decided a row since the
    newest round began."""

    rows: int
    tokens: int | None
    money: float | None
    has_news: bool


def refine_estimate(project: Project, newest: Iteration, *, rows: int) -> RefineEstimate:
    """What relabelling so many rows takes, if each takes what a row of the newest LLM labeling took."""
    alone = project.samples.checked_alone().filter(corrected_at__gt=newest.created_at)
    in_bulk = CorrectionBatch.objects.filter(project=project, created_at__gt=newest.created_at)
    news = Project.objects.filter(Exists(alone) | Exists(in_bulk), pk=project.pk).exists()
    labelings = project.stages.filter(kind=kinds.LLM.key, done__gt=0)
    stage = labelings.select_related("iteration__connection").order_by("-id").first()
    asked = stage.done - LabelingDetail.of(stage).kept if stage else 0
    if stage is None or asked <= 0 or not stage.tokens_in:
        return RefineEstimate(rows, None, None, news)
    cost = stage_cost(stage)
    tokens = round((stage.tokens_in + stage.tokens_out) / asked * rows)
    return RefineEstimate(rows, tokens, None if cost is None else float(cost) / asked * rows, news)
