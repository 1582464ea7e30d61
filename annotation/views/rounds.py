"""Rounds: compare them, and start the next."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from annotation import stats
from annotation.errors import AnnotationError
from annotation.forms import RoundForm, sentence_of
from annotation.models import Iteration, Project, Role
from annotation.pipeline import activity, iterate
from annotation.views.access import MemberRequest, for_members
from annotation.views.frame import page_context

SERIES = ("llm_accuracy", "slm_accuracy", "final_accuracy", "agreement", "clean_share")


@require_GET
@for_members(Role.VIEWER)
def rounds(request: MemberRequest, project: Project) -> HttpResponse:
    """All rounds side by side."""
    summaries = stats.round_summaries(project)
    plot = {"rounds": [summary.iteration.number for summary in summaries]} | {
        name: [getattr(summary, name) for summary in summaries] for name in SERIES
    }
    context = page_context(request, project, step="rounds")
    has_reference = any(summary.llm_accuracy is not None for summary in summaries)
    return render(
        request,
        "annotation/rounds.html",
        context | {"summaries": summaries, "plot": plot, "has_reference": has_reference},
    )


@require_POST
@for_members(Role.OWNER, back="annotation:review")
def start_round(request: MemberRequest, project: Project) -> HttpResponse:
    form = RoundForm(request.POST)
    if not form.is_valid():
        raise AnnotationError(sentence_of(form))
    start = form.cleaned_data["started_from"]
    ask_all = form.cleaned_data["ask_all"]
    iteration = iterate.start_round(project, started_from=start, user=request.user, ask_all=ask_all)
    activity.record_round(iteration, user=request.user)
    return redirect(
        "annotation:labeling" if start == Iteration.Start.LLM else "annotation:filtering", project.pk
    )
