"""Review: what the models' evidence says, and one row corrected at a time."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from annotation import stats
from annotation.errors import ConflictError
from annotation.forms import CorrectionForm, sentence_of
from annotation.models import Correction, Flag, Project, Role, Sample
from annotation.pipeline import review as reviewing
from annotation.views.access import MemberRequest, for_members
from annotation.views.frame import page_context
from annotation.views.table import (
    BadTableError,
    Table,
    TableRow,
    current_row,
    current_table,
    refuse,
    round_table,
)

SIGNS = {Flag.RIGHT: "✓", Flag.WRONG: "!", Flag.INCONSISTENT: "≠"}


@require_GET
@for_members(Role.VIEWER)
def review(request: MemberRequest, project: Project) -> HttpResponse:
    """The table with a correction column; for a past round, what it said, to look at only."""
    context = page_context(request, project, step="review")
    try:
        table = _table(request, project, context)
    except BadTableError as error:
        return refuse(request, error)
    context |= {
        "table": table,
        "rows": table.rows,
        "columns": "review",
        "labels": project.label_list(),
        "correcting": context["can_review"] and not context["is_past"],
        "because": _because(table),
        "here": request.get_full_path(),
    }
    if request.htmx.target == "rows":
        return render(request, "annotation/_rows.html", context)
    return render(request, "annotation/review.html", context | _numbers(request, project, table))


def _table(request: MemberRequest, project: Project, context: dict[str, Any]) -> Table:
    if context["is_past"]:
        return round_table(request, project, context["iteration"])
    judged = project.samples.filter(queue_rank__isnull=False).exists()
    return current_table(request, project, default_sort="queue" if judged else "position")


def _because(table: Table) -> str:
    """Why a row was shown: its place in the queue, or because somebody looked for it."""
    return Correction.Because.QUEUE if table.form.order.field == "queue_rank" else Correction.Because.BROWSING


def _numbers(request: MemberRequest, project: Project, table: Table) -> dict[str, Any]:
    counts = stats.flag_counts(project)
    shown = table.form.cleaned_data["show"]
    buttons = [
        {
            "flag": flag,
            "sign": SIGNS[flag],
            "title": flag.label,
            "count": counts[flag],
            "on": shown == flag,
            "query": table.form.query(show="" if shown == flag else flag.value),
        }
        for flag in (Flag.RIGHT, Flag.WRONG, Flag.INCONSISTENT)
    ]
    return {
        "buttons": buttons,
        "corrected": stats.corrected_rows(project),
        "corrected_by_you": project.samples.filter(corrected_by=request.user, source="person").count(),
        "total": project.samples.count(),
        "accuracy": stats.final_accuracy(project),
    }


@require_POST
@for_members(Role.REVIEWER, back="annotation:review")
def correct_sample(request: MemberRequest, project: Project, sample_id: int) -> HttpResponse:
    """One row corrected, or its correction withdrawn. Who was overtaken by somebody sees what they chose."""
    get_object_or_404(Sample, pk=sample_id, project=project)
    form = CorrectionForm(request.POST, project=project)
    sentence = "" if form.is_valid() else sentence_of(form)
    if not sentence:
        chosen = form.cleaned_data["label"]
        try:
            reviewing.correct_sample(
                sample_id,
                label_id=chosen.pk if chosen else None,
                user=request.user,
                seen_version=form.cleaned_data["version"],
                because=form.cleaned_data["because"] or Correction.Because.BROWSING,
            )
        except ConflictError as error:
            sentence = str(error)
    if request.htmx:
        return _row(request, project, sample_id, sentence=sentence)
    if sentence:
        messages.error(request, sentence)
    else:
        messages.success(request, _("Saved."))
    return redirect(_way_back(request, project, sample_id))


def _row(request: MemberRequest, project: Project, sample_id: int, *, sentence: str) -> HttpResponse:
    rows = Sample.objects.select_related("label", "llm_label", "slm_label", "corrected_by").defer("fields")
    row: TableRow = current_row(rows.get(pk=sample_id))
    row.sentence, row.saved = sentence, not sentence
    context = {
        "project": project,
        "row": row,
        "columns": "review",
        "correcting": True,
        "labels": project.label_list(),
        "because": request.POST.get("because", ""),
        "here": request.POST.get("back", ""),
    }
    return render(request, "annotation/_sample_row.html", context)


def _way_back(request: MemberRequest, project: Project, sample_id: int) -> str:
    back = request.POST.get("back", "")
    if not url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()}):
        back = reverse("annotation:review", args=[project.pk])
    return f"{back}#sample-{sample_id}"
