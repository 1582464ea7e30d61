"""Rounds against each other: one that is worse than the round before it, beyond chance, is recorded where people look.

The pages compare the rounds anew each time; the record is made when a round was judged, and when a draw is answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from django.utils.translation import gettext as _

from annotation.jobs.round_metrics import RoundMetrics
from annotation.models import Activity, Iteration, Label, Project
from annotation.pipeline.measure.accuracy import Evidence
from annotation.pipeline.measure.draw_sample import open_draws
from annotation.pipeline.project import activity
from mlcore.measure.agreement import paired_test

BEYOND_CHANCE = 0.05
LEAST_SHARE = 0.02  # of the file; a smaller label may vanish without alarm
COLLAPSE = 0.2  # what is left of its share when a label has all but vanished


@dataclass(frozen=True, slots=True)
class Comparison:
    """A round against the one before it: on the rows drawn at random, and by the shares of its classes."""

    before: Iteration
    after: Iteration
    rows: int
    better: int
    worse: int
    chance: float
    lost_labels: list[str]

    @property
    def chance_words(self) -> str:
        return "< 0.001" if self.chance < 0.001 else f"= {self.chance:.3f}"

    @property
    def is_worse(self) -> bool:
        return bool(self.lost_labels) or (self.worse > self.better and self.chance < BEYOND_CHANCE)


def compare(evidence: Evidence, before: Iteration, after: Iteration) -> Comparison:
    """McNemar's exact test on the answered random rows, and labels that have all but vanished."""
    was_right, is_right = (
        np.array([not evidence.model_was_wrong(iteration, row) for row in evidence.answered], dtype=bool)
        for iteration in (before, after)
    )
    better, worse, chance = paired_test(was_right, is_right)
    lost = lost_labels(before, after, evidence.labels)
    return Comparison(before, after, len(evidence.answered), better, worse, chance, lost)


def lost_labels(before: Iteration, after: Iteration, labels: Sequence[Label]) -> list[str]:
    """Labels that have all but vanished since the round before."""
    rows_before, rows_after = (RoundMetrics.of(iteration).rows for iteration in (before, after))
    if not rows_before or not rows_after:
        return []
    all_before, all_after = sum(rows_before.values()), sum(rows_after.values())
    return [
        label.name
        for label in labels
        if (share := rows_before.get(str(label.pk), 0) / all_before) >= LEAST_SHARE
        and rows_after.get(str(label.pk), 0) / all_after < COLLAPSE * share
    ]


def check_round(iteration: Iteration) -> Comparison | None:
    """Compare a round that was just judged with the one whose labels were in force, and record it if it is worse.

    Repeatable: the same finding is recorded once.

    Returns:
        The comparison; None in the first round.
    """
    evidence = Evidence.read(iteration.project)
    before = [standing for standing in evidence.standing_rounds if standing.pk != iteration.pk]
    return _check(evidence, before[-1], iteration) if before else None


def check_answered_draw(project: Project) -> Comparison | None:
    """The same for the round in force, once no drawn row waits for an answer any more; None as long as some do."""
    if open_draws(project).exists():
        return None
    evidence = Evidence.read(project)
    rounds = evidence.standing_rounds
    return _check(evidence, *rounds[-2:]) if len(rounds) > 1 else None


def _check(evidence: Evidence, before: Iteration, after: Iteration) -> Comparison:
    comparison = compare(evidence, before, after)
    if comparison.is_worse:
        what = _sentence(comparison)[: activity.LONGEST]
        Activity.objects.get_or_create(project=evidence.project, verb=Activity.Verb.FOUND_WORSE, what=what)
    return comparison


def _sentence(comparison: Comparison) -> str:
    rounds = {"number": comparison.after.number, "before": comparison.before.number}
    if comparison.lost_labels:
        labels = ", ".join(comparison.lost_labels)
        return _("round %(number)d: almost no rows are left with these labels: %(labels)s") % {
            **rounds,
            "labels": labels,
        }
    return _(
        "round %(number)d: of %(rows)d sampled rows %(better)d became right and %(worse)d wrong since round %(before)d"
    ) % {**rounds, "rows": comparison.rows, "better": comparison.better, "worse": comparison.worse}
