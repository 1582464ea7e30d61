"""Measured accuracy: what the rows drawn at random tell of the file, and the draw itself."""

from __future__ import annotations

import secrets
from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import ngettext

from annotation.forms.fields import validated
from annotation.forms.review import AuditForm, TargetForm
from annotation.models import Activity, Project, Role
from annotation.pipeline.measure import advice, compare_rounds, draw_sample, round_metrics
from annotation.pipeline.measure.accuracy import FEW_ROWS, MARGIN, Evidence
from annotation.pipeline.measure.agreement import rater_agreement
from annotation.pipeline.project import activity
from annotation.table.counts import count_rows
from annotation.views.access import MemberRequest, for_members
from annotation.views.frame import page_context

DRAW_ROWS = 100


@for_members(Role.VIEWER, "GET")
def accuracy(request: MemberRequest, project: Project) -> HttpResponse:
    """All that is known of the file's accuracy; as a card, what the review page shows of it."""
    form = TargetForm(request.GET)
    target = form.cleaned_data["target"] if form.is_valid() else None
    evidence = Evidence.read(project)
    context = page_context(request, project, step="review") | _figures(evidence, target)
    if request.htmx.target == "measured":
        return render(request, "annotation/measure/_accuracy_card.html", context)
    classes, macro = evidence.classes if context["enough"] else ([], None)
    pairs, alpha = rater_agreement(evidence) if context["enough"] else ([], None)
    curve = advice.errors_found(evidence)
    context |= {
        "classes": list(zip(evidence.labels, classes, strict=False)),
        "macro": macro,
        "short_labels": [
            label.name for label, each in zip(evidence.labels, classes, strict=False) if each.missing
        ],
        "flags": [flag for flag in evidence.flags if flag.checked],
        "pairs": pairs,
        "alpha": alpha,
        "reference": round_metrics.shown_accuracy(project, rows=count_rows(project).rows),
        "plot": _plot(curve, context["forecast"]),
        "curve_end": curve[-1],
        "targets": [(each, f"{each * 100:g} %") for each in advice.TARGETS],
    }
    return render(request, "annotation/measure/accuracy.html", context)


def _figures(evidence: Evidence, target: float | None) -> dict[str, Any]:
    """What the card and the page share."""
    rounds = evidence.standing_rounds
    return {
        "audited": len(evidence.answered),
        "learned": evidence.learned,
        "pending": evidence.pending,
        "can_draw": evidence.rows_to_draw > 0,
        "decided_in_bulk": evidence.decided_in_bulk,
        "unmeasured": evidence.unmeasured,
        "enough": len(evidence.answered) >= FEW_ROWS,
        "few": FEW_ROWS,
        "measured": evidence.accuracy,
        "wrong_left": evidence.wrong_left,
        "flag_precision": [flag for flag in evidence.flags if flag.checked][:2],
        "forecast": advice.forecast(evidence, target),
        "comparison": compare_rounds.compare(evidence, *rounds[-2:]) if len(rounds) > 1 else None,
        "draw_rows": min(max(DRAW_ROWS, evidence.rows_to_measure), 400) if evidence.answered else DRAW_ROWS,
        "margin_rows": evidence.rows_to_measure if evidence.answered else None,
        "margin": MARGIN,
    }


def _plot(curve: list[tuple[int, int]], forecast: advice.Forecast | None) -> dict[str, Any]:
    found = [{"x": rows, "y": errors} for rows, errors in curve]
    ahead = []
    if forecast:
        rows, errors = curve[-1]
        ahead = [found[-1], {"x": rows + advice.NEXT_ROWS, "y": errors + forecast.next_errors}]
    return {"found": found, "forecast": ahead}


def draw_rows(project: Project, rows: int, *, user: User) -> int:
    """Draw random rows, and write down who did; returns how many."""
    drawn = draw_sample.draw_sample(project, rows=rows, user=user, seed=secrets.randbits(64))
    what = ngettext("%(count)d row", "%(count)d rows", drawn) % {"count": drawn}
    activity.record(project, user=user, verb=Activity.Verb.DREW, what=what)
    return drawn


@for_members(Role.REVIEWER, "POST", back="annotation:accuracy")
def draw_audit(request: MemberRequest, project: Project) -> HttpResponse:
    """Draw random rows to be answered blind."""
    form = validated(AuditForm(request.POST))
    drawn = draw_rows(project, form.cleaned_data["rows"], user=request.user)
    messages.success(
        request,
        ngettext(
            "%(count)d row is drawn at random and shown without the models' labels.",
            "%(count)d rows are drawn at random and shown without the models' labels.",
            drawn,
        )
        % {"count": drawn},
    )
    return redirect(f"{reverse('annotation:focus', args=[project.pk])}?only=random")
