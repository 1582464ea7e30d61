"""Review: what the models' evidence says, and one row corrected at a time."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _

from annotation.errors import ConflictError
from annotation.forms.fields import sentence_of
from annotation.forms.review import CorrectionForm
from annotation.live import stage_status
from annotation.models import Correction, Flag, Project, Role, Sample, SavedFilter
from annotation.pipeline.ingest.duplicates import rows_with_texts
from annotation.pipeline.iterate.refine_estimate import refine_estimate
from annotation.pipeline.measure import round_metrics
from annotation.pipeline.review import corrections as reviewing
from annotation.pipeline.review.risk_basis import risk_basis
from annotation.table.columns import columns_of
from annotation.views.access import MemberRequest, for_members
from annotation.views.frame import page_context
from annotation.views.review.bulk import newest_batches
from annotation.views.review.table import (
    BadTableError,
    Table,
    TableRow,
    current_row,
    current_table,
    refuse,
    round_table,
    shown_rows,
)
from mlcore.verdict.review_order import RISKY

MOST_SAME_TEXTS = 1_000
SIGNS = {Flag.RIGHT: "✓", Flag.WRONG: "!", Flag.INCONSISTENT: "≠"}


@for_members(Role.VIEWER, "GET")
def review(request: MemberRequest, project: Project) -> HttpResponse:
    """The table with a correction column; for a past round, what it said, to look at only."""
    context = page_context(request, project, step="review")
    try:
        table = _table(request, project, context)
    except BadTableError as error:
        return refuse(request, error)
    if table.columns:
        context |= {"hidden": table.columns.hidden, "column_choices": table.columns.choices}
    context |= {
        "table": table,
        "rows": table.rows,
        "columns": "review",
        "labels": project.label_list(),
        "correcting": context["can_review"] and not context["is_past"],
        "because": _because(table),
        "connections": project.connections.all(),
        "basis": risk_basis(project),
        "here": request.get_full_path(),
    }
    if request.htmx.target == "rows":
        answer = render(request, "annotation/table/_rows.html", context)
        if not table.form.cleaned_data["far"]:
            answer["HX-Push-Url"] = request.path + table.form.address  # without the empty fields of the form
        return answer
    context |= _numbers(request, project, table)
    if context["now"] and table.counts:
        at_risk = table.counts.flags[Flag.WRONG] + table.counts.flags[Flag.INCONSISTENT]
        context["refine"] = refine_estimate(project, context["now"], rows=at_risk)
    if context["accuracy"] and context["now"]:
        accuracy = context["accuracy"]["accuracy"]
        context["alone"] = round_metrics.models_alone(context["now"], file_accuracy=accuracy)
    return render(request, "annotation/review/review.html", context)


def _table(request: MemberRequest, project: Project, context: dict[str, Any]) -> Table:
    if context["is_past"]:
        return round_table(request, project, context["iteration"])
    # Rows that were decided since the queue was made keep their place in it until the next round: who has just corrected one
    # finds it where it was, and an order that sinks them would take one more index over all rows.
    judged = project.samples.filter(queue_rank__isnull=False).exists()
    return current_table(request, project, default_sort="queue" if judged else "position")


def _because(table: Table) -> str:
    """Why a row was shown: its place in the queue, or because somebody looked for it."""
    return Correction.Because.QUEUE if table.form.order.field == "queue_rank" else Correction.Because.BROWSING


def _numbers(request: MemberRequest, project: Project, table: Table) -> dict[str, Any]:
    """What stands above the table. Nothing here counts all rows: see :mod:`annotation.table.counts`."""
    shown, counts = table.form.cleaned_data["show"], table.counts
    assert counts
    everything = {
        "flag": "all",
        "sign": "",
        "title": _("All rows"),
        "count": counts.rows,
        "on": not shown,
        "query": table.form.query(show=""),
    }
    buttons = [
        everything,
        *(
            {
                "flag": flag,
                "sign": SIGNS[flag],
                "title": flag.label,
                "count": counts.flags[flag],
                "on": shown == flag,
                "query": table.form.query(show="" if shown == flag else flag.value),
            }
            for flag in (Flag.RIGHT, Flag.WRONG, Flag.INCONSISTENT)
        ),
    ]
    return {
        "buttons": buttons,
        "risky": RISKY,
        "corrected": counts.decided,
        "total": counts.rows,
        "accuracy": round_metrics.shown_accuracy(project, rows=counts.rows),
        "saved_filters": SavedFilter.objects.visible_to(request.user)
        .filter(project=project)
        .select_related("owner"),
    } | _batches(request, project)


def _batches(request: MemberRequest, project: Project) -> dict[str, Any]:
    """The newest bulk corrections, and the progress of one that is at work."""
    batches = newest_batches(project)
    made = [each.batch for each in batches] + [each.undo for each in batches if each.undo]
    active = [each.stage for each in made if each.stage and each.stage.is_active]
    return {"batches": batches} | (stage_status.stage_context(active[0]) if active else {})


@for_members(Role.REVIEWER, "POST", back="annotation:review")
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


@for_members(Role.VIEWER, "GET")
def sample_text(request: MemberRequest, project: Project, sample_id: int) -> HttpResponse:
    """The whole text of a row: pages hold the beginning of a long one, and a page of them would be megabytes."""
    sample = get_object_or_404(Sample.objects.only("text"), pk=sample_id, project=project)
    return HttpResponse(sample.text, content_type="text/plain; charset=utf-8")


def _row(request: MemberRequest, project: Project, sample_id: int, *, sentence: str) -> HttpResponse:
    columns = columns_of(project, request.membership)
    row: TableRow = current_row(shown_rows(columns).get(pk=sample_id, project=project), columns)
    row.sentence, row.saved = sentence, not sentence
    same_texts = _same_texts(row) if row.saved else 0
    context = {
        "hidden": columns.hidden,
        "same_texts": same_texts,
        "same_texts_at_least": same_texts == MOST_SAME_TEXTS,
        "project": project,
        "row": row,
        "columns": "review",
        "correcting": True,
        "labels": project.label_list(),
        "because": request.POST.get("because", ""),
        "basis": risk_basis(project),
        "here": request.POST.get("back", ""),
    }
    return render(request, "annotation/table/_sample_row.html", context)


def _same_texts(row: TableRow) -> int:
    """How many other rows have this text and another label that no person chose; no more than so many are counted."""
    if row.source != "person":
        return 0
    same = rows_with_texts(row.sample.project, [row.sample.content_hash])
    others = same.exclude(pk=row.sample.pk).exclude(label=row.sample.label_id).exclude(source="person")
    return others[:MOST_SAME_TEXTS].count()


def _way_back(request: MemberRequest, project: Project, sample_id: int) -> str:
    back = request.POST.get("back", "")
    if not url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()}):
        back = reverse("annotation:review", args=[project.pk])
    return f"{back}#sample-{sample_id}"
