"""The focus view: one row at a time, by keyboard. With scripts, rows come ahead and answers go in the background;
without, every button is a plain form."""

from __future__ import annotations

import logging
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.contrib import messages
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db import DatabaseError
from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext as _

from annotation.errors import AnnotationError, ConflictError
from annotation.forms.fields import is_id, sentence_of
from annotation.forms.review import AnswerForm, HeldRowsForm, UndoForm
from annotation.models import Correction, Project, Role, Sample
from annotation.models.sql import little_patience
from annotation.pipeline.measure import draw_sample
from annotation.pipeline.review import queue, throughput
from annotation.table.filters import FilterForm
from annotation.table.form import TableForm
from annotation.templatetags.coral import duration
from annotation.views.access import MemberRequest, for_members
from annotation.views.frame import page_context
from annotation.views.project.projects import bad_request
from annotation.views.review.answers import leave_row_unclear, save_answer, undo_last_answer
from annotation.views.review.focus_rows import FocusRow, focus_rows

logger = logging.getLogger(__name__)

FILTERED_ROWS = 25  # of a filter, before the next ones are asked for
AHEAD = 4  # rows beyond those that the page has already


@for_members(Role.REVIEWER, "GET", back="annotation:review")
def focus(request: MemberRequest, project: Project) -> HttpResponse:
    """The page with the person's first rows; ``?row=`` shows a certain row before them, ``?only=random`` those alone that were
    drawn to measure the file."""
    if set(request.GET) & FilterForm.base_fields.keys():
        return _filtered(request, project)
    only_random = _only_random(request)
    try:
        with little_patience():
            claims = queue.take_rows(project, user=request.user, only_random=only_random)
        wanted = [(claim.sample_id, claim.because) for claim in claims]
    except (
        DatabaseError
    ):  # nothing can be written: rows can be read all the same, and answers wait in the browser
        logger.exception("Rows of project %d can't be claimed; they are shown without.", project.pk)
        wanted = queue.peek_rows(project, user=request.user, only_random=only_random)
    asked = request.GET.get("row", "")
    if is_id(asked):
        first = get_object_or_404(Sample, pk=int(asked), project=project)
        is_drawn = draw_sample.pending_draws(project, request.user).filter(pk=first.pk).exists()
        usual = Correction.Because.AUDIT if is_drawn else Correction.Because.BROWSING
        because = dict(wanted).get(first.pk, usual.value)
        wanted = [(first.pk, because), *(row for row in wanted if row[0] != first.pk)]
    context = page_context(request, project, step="review")
    context |= _figures(request, project) | {
        "rows": focus_rows(project, wanted),
        "random_left": draw_sample.pending_draws(project, request.user).exists(),
        "undo_id": uuid4(),
        "csrf_cookie": settings.CSRF_COOKIE_NAME,
    }
    return render(request, "annotation/review/focus.html", context)


def _filtered(request: MemberRequest, project: Project) -> HttpResponse:
    """The rows of a filter of the table one by one, in its order, decided ones among them; then the way to the next ones."""
    form = TableForm(request.GET, project=project, default_sort="queue")
    if not form.is_valid():
        return bad_request(request, sentence_of(form))
    page = form.page(Sample.objects.only("pk"), size=FILTERED_ROWS)
    ids = [row.pk for row in page.rows]
    drawn = set(
        draw_sample.pending_draws(project, request.user).filter(pk__in=ids).values_list("pk", flat=True)
    )
    because = {True: Correction.Because.AUDIT.value, False: Correction.Because.BROWSING.value}
    context = page_context(request, project, step="review") | _figures(request, project)
    context |= {
        "rows": focus_rows(project, [(pk, because[pk in drawn]) for pk in ids]),
        "filter_query": form.query(),
        "filters": form.active,
        "next_query": form.query(after=str(page.next)) if page.next else "",
        "undo_id": uuid4(),
        "csrf_cookie": settings.CSRF_COOKIE_NAME,
    }
    return render(request, "annotation/review/focus.html", context)


def _figures(request: MemberRequest, project: Project) -> dict[str, Any]:
    today = _today(request, project)
    last_answers = throughput.last_answers(project, request.user)
    only_random = _only_random(request)
    left = _left_words(request, project, today, with_random=only_random)
    return {"today": today, "left": left, "last_answers": last_answers, "only_random": only_random}


def _today(request: MemberRequest, project: Project) -> throughput.Throughput:
    return throughput.throughput_of(
        throughput.answers_of(project, request.user, since=throughput.midnight()).order_by()
    )


def _left_words(
    request: MemberRequest, project: Project, today: throughput.Throughput, *, with_random: bool
) -> dict[str, str]:
    """How many flagged rows are left, the time for them at today's rate, and how many random rows wait for this person."""
    rows = throughput.rows_left(project)
    seconds = rows * 60 / today.rows_per_minute if today.rows_per_minute else None
    left = {"rows": str(intcomma(rows)), "time": duration(seconds)}
    if with_random:
        left["random"] = str(intcomma(draw_sample.pending_draws(project, request.user).count()))
    return left


def _left_after(request: MemberRequest, project: Project, because: str) -> dict[str, str]:
    """What is left after an answer or an undo; random rows change with theirs only."""
    today = _today(request, project)
    return _left_words(request, project, today, with_random=because == Correction.Because.AUDIT)


@for_members(Role.REVIEWER, "POST", back="annotation:focus")
def focus_next(request: MemberRequest, project: Project) -> JsonResponse:
    """More rows for a page that has some, and today's figures."""
    form = HeldRowsForm(request.POST)
    if not form.is_valid():
        return JsonResponse({"sentence": sentence_of(form)}, status=400)
    have: set[int] = form.cleaned_data["have"]
    claims = queue.take_rows(
        project, user=request.user, count=len(have) + AHEAD, only_random=_only_random(request)
    )
    wanted = [(claim.sample_id, claim.because) for claim in claims if claim.sample_id not in have]
    figures = _figures(request, project)
    return JsonResponse(
        {
            "rows": [_as_json(request, project, row) for row in focus_rows(project, wanted)],
            "figures": render_to_string("annotation/review/_focus_figures.html", figures, request),
            "answered": figures["today"].answers,
        }
    )


@for_members(Role.REVIEWER, "POST", back="annotation:focus")
def focus_answer(request: MemberRequest, project: Project) -> HttpResponse:
    """One answer, saved in one short transaction. Sent again under the same id it does nothing."""
    form = AnswerForm(request.POST, project=project)
    if not form.is_valid():
        return _refuse(request, project, sentence_of(form))
    data = form.cleaned_data
    sample = _row(project, data["sample"])
    if sample is None:
        return _refuse(request, project, _gone(), status=404)
    try:
        sample, differs = save_answer(sample, data, user=request.user)
    except ConflictError as error:
        return _show_again(request, project, sample.pk, str(error), status=409)
    except AnnotationError as error:
        return _refuse(request, project, str(error))
    if differs:
        return _show_again(request, project, sample.pk, differs, version=sample.version)
    if _wants_json(request):
        left = _left_after(request, project, data["because"])
        return JsonResponse({"version": sample.version, "left": left})
    return redirect("annotation:focus", project.pk)


@for_members(Role.REVIEWER, "POST", back="annotation:focus")
def focus_skip(request: MemberRequest, project: Project) -> HttpResponse:
    sample_id = request.POST.get("sample", "")
    if not is_id(sample_id):
        return _refuse(request, project, _("The row to skip is missing from the request. Reload the page."))
    sample = _row(project, int(sample_id))
    if sample is None:
        return _refuse(request, project, _gone(), status=404)
    queue.skip_row(sample, user=request.user)
    return JsonResponse({}) if _wants_json(request) else redirect("annotation:focus", project.pk)


@for_members(Role.REVIEWER, "POST", back="annotation:focus")
def focus_unclear(request: MemberRequest, project: Project) -> HttpResponse:
    """No label fits the row, or it is unclear: an answer of its own. A row that measures the file stays open for others."""
    sample_id = request.POST.get("sample", "")
    sample = _row(project, int(sample_id)) if is_id(sample_id) else None
    if sample is None:
        return _refuse(request, project, _gone(), status=404)
    leave_row_unclear(sample, user=request.user)
    return JsonResponse({}) if _wants_json(request) else redirect("annotation:focus", project.pk)


@for_members(Role.REVIEWER, "POST", back="annotation:focus")
def focus_undo(request: MemberRequest, project: Project) -> HttpResponse:
    """Take back the newest answer, or the one that the page names; the row is shown again."""
    form = UndoForm(request.POST)
    if not form.is_valid():
        return _refuse(request, project, sentence_of(form))
    try:
        sample, because = undo_last_answer(project, form.cleaned_data, user=request.user)
    except AnnotationError as error:
        return _refuse(request, project, str(error))
    return _show_again(request, project, sample.pk, version=sample.version, because=because)


# --- Answers to the page ------------------------------------------------------------------------------------------


def _only_random(request: MemberRequest) -> bool:
    return request.GET.get("only") == "random"


def _row(project: Project, sample_id: int) -> Sample | None:
    return Sample.objects.only("pk").filter(pk=sample_id, project=project).first()


def _gone() -> str:
    return _("This row is no longer in the project, so nothing was saved for it.")


def _wants_json(request: MemberRequest) -> bool:
    return request.headers.get("accept", "").startswith("application/json")


def _refuse(request: MemberRequest, project: Project, sentence: str, *, status: int = 400) -> HttpResponse:
    if _wants_json(request):
        return JsonResponse({"sentence": sentence}, status=status)
    messages.error(request, sentence)
    return redirect("annotation:focus", project.pk)


def _show_again(
    request: MemberRequest,
    project: Project,
    sample_id: int,
    sentence: str = "",
    *,
    status: int = 200,
    version: int = 0,
    because: str = Correction.Because.QUEUE,
) -> HttpResponse:
    """The row as it is now, with what the person must know before they answer it once more."""
    if not _wants_json(request):
        if sentence:
            messages.warning(request, sentence)
        return redirect(f"{reverse('annotation:focus', args=[project.pk])}?row={sample_id}")
    row = focus_rows(project, [(sample_id, because)], sentence=sentence)[0]
    left = _left_after(request, project, because)
    shown = {"version": version, "left": left, "row": _as_json(request, project, row)}
    return JsonResponse(shown, status=status)


def _as_json(request: MemberRequest, project: Project, row: FocusRow) -> dict[str, Any]:
    html = render_to_string("annotation/review/_focus_row.html", {"row": row, "project": project}, request)
    return {"id": row.sample.pk, "html": html}
