"""Export: make a file, and hand out finished ones to members only."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _

from annotation.files.writers import result_columns
from annotation.forms.fields import validated
from annotation.forms.rounds import ExportForm
from annotation.jobs import kinds
from annotation.jobs.details import ExportDetail
from annotation.live import stage_status
from annotation.models import Activity, Project, Role, Stage
from annotation.pipeline.export import run_export as exporting
from annotation.pipeline.export.rows import Selection
from annotation.pipeline.ingest.import_report import rejected_uploads
from annotation.pipeline.project import activity
from annotation.table.filters import filter_rows, plain_query
from annotation.views.access import MemberRequest, for_members
from annotation.views.export.downloads import Download
from annotation.views.frame import page_context

SHOWN_EXPORTS = 10


@for_members(Role.VIEWER, "GET")
def export(request: MemberRequest, project: Project) -> HttpResponse:
    exports = list(
        project.stages.filter(kind=kinds.EXPORT.key)
        .select_related("requested_by")
        .order_by("-id")[:SHOWN_EXPORTS]
    )
    done = [stage for stage in exports if stage.status == Stage.Status.DONE]
    finished = [(stage, ExportDetail.of(stage), exporting.is_kept(stage)) for stage in done]
    query = plain_query(project, request.GET.urlencode())
    columns = zip(result_columns(project.columns), column_meanings(), strict=True)
    context = page_context(request, project, step="export") | {
        "form": ExportForm(initial={"query": query, "rows": "", "format": "xlsx"}),
        "has_rows": project.samples.exists(),
        "query": query,
        "query_rows": filter_rows(project, query).count() if query else 0,
        "rejected_uploads": rejected_uploads(project),
        "finished": finished,
        "in_force": project.iterations.in_force(),
        "withdrawn": project.iterations.filter(withdrawn_at__isnull=False),
        "export_columns": [{"name": name, "meaning": meaning} for name, meaning in columns],
    }
    newest = exports[0] if exports and exports[0].status != Stage.Status.DONE else None
    if newest:
        context |= stage_status.stage_context(newest)
    return render(request, "annotation/export/export.html", context)


def column_meanings() -> list[str]:
    """What each of CORAL's columns says, in the order of the files."""
    return [
        _("the label to use: a person's if there is one, otherwise the most likely one given both models"),
        _("source of the final label: LLM, SLM or person"),
        _("the LLM's label"),
        _("the SLM's label"),
        _("the SLM's confidence in its own label, 0 to 1"),
        _("probability that the LLM's label is right, 0 to 1; empty where a person decided"),
        _("probability that the final label is wrong, 0 to 1; 0 where a person decided"),
        _("likely right, likely wrong, or inconsistent (the models disagree); empty where a person decided"),
        _("the person who corrected the row"),
        _("when, in UTC"),
        _("the round that the label comes from; empty where there is no label"),
        _("“unclear” where a person said that no label fits or the row is unclear"),
        _("what people noted of the row"),
    ]


@for_members(Role.VIEWER, "POST", back="annotation:export")
def start_export(request: MemberRequest, project: Project) -> HttpResponse:
    begin_export(project, validated(ExportForm(request.POST)), user=request.user)
    return redirect("annotation:export", project.pk)


def begin_export(project: Project, form: ExportForm, *, user: User) -> Stage:
    """Queue the export that a valid form asks for, and write down who did."""
    stage = exporting.start_export(
        project,
        user=user,
        format=form.cleaned_data["format"],
        query=form.cleaned_data["query"],
        certainty=form.share,
    )
    detail = ExportDetail.of(stage)
    what = "-".join([detail.format, *Selection.stored(detail).words])
    activity.record(project, user=user, verb=Activity.Verb.EXPORTED, what=what)
    return stage


@for_members(Role.VIEWER, "GET", back="annotation:export")
def download_export(request: MemberRequest, project: Project, stage_id: int) -> Download:
    """The file itself, always as an attachment under a name that we made."""
    stage = get_object_or_404(Stage, pk=stage_id, project=project, kind=kinds.EXPORT.key)
    return open_export(stage, user=request.user)


def open_export(stage: Stage, *, user: User) -> Download:
    """The file of a finished export; who takes it is written down."""
    path = exporting.export_path(stage)
    what = path.suffix.removeprefix(".")
    activity.record(stage.project, user=user, verb=Activity.Verb.DOWNLOADED, what=what)
    return Download(path.open("rb"), filename=ExportDetail.of(stage).file or path.name)
