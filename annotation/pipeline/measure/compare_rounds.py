"""The gate of a round: one that is worse than the round before it, beyond chance, is written down where people look.

The pages compare the rounds anew each time; the record is made when a round was judged, and when a draw is answered.
"""

from __future__ import annotations

from django.utils.translation import gettext as _

from annotation.models import Activity, Iteration, Project
from annotation.pipeline.measure.accuracy import Comparison, Evidence
from annotation.pipeline.measure.draw_sample import open_draws
from annotation.pipeline.project import activity


def check_round(iteration: Iteration) -> Comparison | None:
    """Compare a round that was just judged with the one whose labels were in force, and record it if it is worse.

    Repeatable: the same finding is written down once.

    Returns:
        The comparison; None in the first round.
    """
    evidence = Evidence.read(iteration.project)
    before = [each for each in evidence.standing if each.pk != iteration.pk]
    return _check(evidence, before[-1], iteration) if before else None


def check_answered_draw(project: Project) -> Comparison | None:
    """The same for the round in force, once no drawn row waits for an answer any more; None as long as some do."""
    if open_draws(project).exists():
        return None
    evidence = Evidence.read(project)
    return _check(evidence, *evidence.standing[-2:]) if len(evidence.standing) > 1 else None


def _check(evidence: Evidence, before: Iteration, after: Iteration) -> Comparison:
    comparison = evidence.compare(before, after)
    if comparison.is_worse:
        what = _words(comparison)[: activity.LONGEST]
        Activity.objects.get_or_create(project=evidence.project, verb=Activity.Verb.FOUND_WORSE, what=what)
    return comparison


def _words(comparison: Comparison) -> str:
    rounds = {"number": comparison.after.number, "before": comparison.before.number}
    if comparison.lost_labels:
        labels = ", ".join(comparison.lost_labels)
        return _("round %(number)d: a label has all but vanished: %(labels)s") % {**rounds, "labels": labels}
    return _(
        "round %(number)d: of %(rows)d audited rows %(better)d became right and %(worse)d wrong since round %(before)d"
    ) % {**rounds, "rows": comparison.rows, "better": comparison.better, "worse": comparison.worse}
