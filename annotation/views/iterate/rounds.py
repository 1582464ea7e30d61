"""Rounds: compare them, look at what changed, go back to one, and start the next."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import Exists, OuterRef, QuerySet, Subquery
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _

from annotation.forms.fields import is_id, validated
from annotation.forms.rounds import RoundForm
from annotation.jobs import kinds
from annotation.live.stage_status import stage_context
from annotation.models import Iteration, Prediction, Project, Role, Sample
from annotation.pipeline.iterate import restore_round as restore
from annotation.pipeline.iterate import start_round as iterate
from annotation.pipeline.measure import compare_rounds, round_metrics
from annotation.pipeline.measure.accuracy import FEW_ROWS, Evidence
from annotation.pipeline.measure.agreement import rater_agreement
from annotation.pipeline.project import activity
from annotation.views.access import MemberRequest, for_members
from annotation.views.frame import page_context

SERIES = ("llm_accuracy", "slm_accuracy", "final_accuracy", "agreement", "clean_share")
FLIPS_SHOWN = 50


@for_members(Role.VIEWER, "GET")
def rounds(request: MemberRequest, project: Project) -> HttpResponse:
    """All rounds side by side, each compared with the one before it."""
    summaries = round_metrics.round_summaries(project)
    evidence = Evidence.read(project)
    enough = len(evidence.answered) >= FEW_ROWS
    measured = {each.pk: each for each in evidence.rounds} if enough else {}
    accuracy = [
        evidence.round_accuracy(measured[summary.iteration.pk]) if summary.iteration.pk in measured else None
        for summary in summaries
    ]
    plot: dict[str, Any] = {"rounds": [summary.iteration.number for summary in summaries]} | {
        name: [getattr(summary, name) for summary in summaries] for name in SERIES
    }
    plot["measured"] = [each and [each.low, each.value, each.high] for each in accuracy]
    pairs, alpha = rater_agreement(evidence)
    restoring = project.stages.filter(kind=kinds.RESTORE.key).first()
    context = page_context(request, project, step="rounds") | {
        "summaries": list(zip(summaries, accuracy, _comparisons(evidence, summaries), strict=True)),
        "plot": plot,
        "has_reference": any(summary.llm_accuracy is not None for summary in summaries),
        "audited": len(evidence.answered) if enough else 0,
        "pairs": pairs,
        "alpha": alpha,
        "current": evidence.current,
        "judged": {each.pk for each in evidence.rounds},
    }
    if restoring and (restoring.is_active or restoring.error):
        context |= stage_context(restoring)
    return render(request, "annotation/iterate/rounds.html", context)


def _comparisons(
    evidence: Evidence, summaries: list[round_metrics.RoundSummary]
) -> list[compare_rounds.Comparison | None]:
    """Each judged round against the judged one before it."""
    before = {after.pk: first for first, after in zip(evidence.rounds, evidence.rounds[1:], strict=False)}
    return [
        compare_rounds.compare(evidence, before[summary.iteration.pk], summary.iteration)
        if summary.iteration.pk in before
        else None
        for summary in summaries
    ]


@for_members(Role.OWNER, "POST", back="annotation:review")
def start_round(request: MemberRequest, project: Project) -> HttpResponse:
    form = validated(RoundForm(request.POST, project=project))
    start = form.cleaned_data["started_from"]
    ask_all = form.cleaned_data["ask_all"]
    asked = form.cleaned_data["connection"] if start == Iteration.Start.LLM else None
    iteration = iterate.start_round(
        project, started_from=start, user=request.user, ask_all=ask_all, connection=asked
    )
    activity.record_round(iteration, user=request.user)
    return redirect(
        "annotation:labeling" if start == Iteration.Start.LLM else "annotation:filtering", project.pk
    )


@for_members(Role.OWNER, "POST", back="annotation:rounds")
def restore_round(request: MemberRequest, project: Project, iteration_id: int) -> HttpResponse:
    """Put a round's labels in force: back to an earlier one, or forward again."""
    iteration = get_object_or_404(Iteration, project=project, pk=iteration_id)
    restore.start_restore(iteration, user=request.user)
    messages.success(
        request,
        _("Rolling back to the labels of round %(number)d. Corrections by people are unchanged.")
        % {"number": iteration.number},
    )
    return redirect("annotation:rounds", project.pk)


@for_members(Role.VIEWER, "GET")
def round_flips(request: MemberRequest, project: Project, iteration_id: int) -> HttpResponse:
    """The rows whose label a round changed, against the round before it."""
    after = get_object_or_404(Iteration, project=project, pk=iteration_id)
    before = project.iterations.judged().filter(number__lt=after.number).order_by("-number").first()
    last = request.GET.get("after", "")
    found = list(_flips(before, after, int(last) if is_id(last) else -1)[: FLIPS_SHOWN + 1]) if before else []
    flips: list[Any] = found[:FLIPS_SHOWN]
    rows = Sample.objects.select_related("label").defer("fields").order_by()
    samples = rows.in_bulk([flip.sample_id for flip in flips])
    context = page_context(request, project, step="rounds") | {
        "before": before,
        "after": after,
        "flips": flips,
        "names": {label.pk: label for label in project.label_list()},
        "next": flips[-1].sample_id if len(found) > FLIPS_SHOWN else None,
    }
    for flip in flips:
        flip.sample = samples[flip.sample_id]
        flip.was = context["names"].get(flip.was_id)
    return render(request, "annotation/iterate/round_flips.html", context)


def _flips(before: Iteration, after: Iteration, last: int) -> QuerySet[Prediction]:
    """In the order of the rows' ids, which an index of the predictions has."""
    then = Prediction.objects.filter(
        iteration=before, source=Prediction.ModelKind.SLM, sample=OuterRef("sample")
    )
    now = after.predictions.filter(source=Prediction.ModelKind.SLM, sample__gt=last)
    return (
        now.filter(Exists(then.exclude(verdict=OuterRef("verdict"))))
        .annotate(was_id=Subquery(then.values("verdict")[:1]))
        .select_related("verdict")
        .order_by("sample_id")
    )
