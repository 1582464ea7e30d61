"""Connections to language models: presets, what keeps one from working, its test, and a project's further ones."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from annotation.errors import AnnotationError
from annotation.forms.fields import is_id
from annotation.forms.llm import FurtherLlmForm, LlmForm
from annotation.jobs import kinds
from annotation.jobs.connection_result import ConnectionTest
from annotation.jobs.details import ConnectionTestDetail
from annotation.live import stage_status
from annotation.models import Activity, Connection, ConnectionSettings, Project, Role, Stage
from annotation.pipeline.label import start_try_out
from annotation.pipeline.measure.model_comparison import compare_models
from annotation.pipeline.project import activity, connection, readiness
from annotation.pipeline.project import configure as configuring
from annotation.pipeline.project.presets import preset_at, presets
from annotation.views.access import MemberRequest, for_members
from annotation.views.frame import page_context
from mlcore.errors import MessageError, ModelUnavailableError


def preset_values(request: MemberRequest, initial: dict[str, Any]) -> dict[str, Any]:
    """What the form shows after a click on a preset: what was typed, with the preset's values; empty without such a click."""
    preset = presets().get(request.POST.get("preset", ""))
    if preset is None:
        return {}
    return {name: request.POST.get(name, "") for name in (*initial, "headers")} | preset.fields


def llm_context(project: Project, form: LlmForm, connected: ConnectionSettings) -> dict[str, Any]:
    """What the fields of a language model show beside themselves."""
    kind, address = form["kind"].value(), form["base_url"].value() or ""
    tested, saved = ConnectionTest.from_json(connected.llm_test), connected.llm_config
    is_same = saved.kind == kind and (kind != "endpoint" or saved.base_url == address)
    stage = project.stages.filter(kind=kinds.CONNECTION_TEST.key).first()
    context: dict[str, Any] = {
        # A stored token never follows to another server.
        "token_end": connection.token_end(connected) if is_same else "",
        "header_names": connection.header_names(connected) if is_same else [],
        "presets": presets().values(),
        "preset": preset_at(kind, address),
        "tested": tested if tested.of and is_same else None,
        **_missing(connected, kind, address),
    }
    number = connected.pk if isinstance(connected, Connection) else 0
    if stage and stage.is_active and ConnectionTestDetail.of(stage).connection == (number or 0):
        context |= stage_status.stage_context(stage)
        del context["project"]
    return context


def _missing(connected: ConnectionSettings, kind: str, address: str) -> dict[str, Any]:
    """What keeps the connection that the form shows from working, and where it is mended."""
    from mlcore.llm.endpoint.guard import check_address  # loads the hub's HTTP client, which few pages need

    try:
        if kind == "endpoint" and address:
            check_address(address, connection.allowed_hosts())
        elif kind != "endpoint" and kind == connected.llm_config.kind:
            readiness.check_connection(connected)
    except ModelUnavailableError as error:
        host = error.message.params.get("host", "")
        url = reverse("admin:annotation_allowedhost_add") + f"?host={host}"
        fixed = settings.LLM_HOSTS_ARE_FIXED
        return {
            "missing": str(error),
            "allow_url": url if host and not fixed else "",
            "hosts_are_fixed": host and fixed,
        }
    except AnnotationError as error:
        return {"missing": str(error)}
    return {}


@for_members(Role.OWNER, "GET")
def connections(request: MemberRequest, project: Project) -> HttpResponse:
    """The project's LLMs: its own, which the wizard sets, and further ones."""
    further = [(each, ConnectionTest.from_json(each.llm_test)) for each in project.connections.all()]
    compared, rows = compare_models(project)
    context = page_context(request, project, step="configure") | {
        "own_test": ConnectionTest.from_json(project.llm_test),
        "further": further,
        "compared": compared,
        "compared_rows": rows,
    }
    stage = project.stages.filter(kind=kinds.COMPARISON.key).first()
    if stage and stage.status != Stage.Status.DONE:
        context |= stage_status.stage_context(stage)
    return render(request, "annotation/project/connections.html", context)


@for_members(Role.OWNER, "POST", back="annotation:connections")
def start_comparison(request: MemberRequest, project: Project) -> HttpResponse:
    """Ask one of the project's LLMs about the rows that people answered blind."""
    number = request.POST.get("connection", "")
    asked = get_object_or_404(Connection, project=project, pk=number) if is_id(number) else None
    stage = start_try_out.start_comparison(project, user=request.user, connection=asked)
    activity.record_stage(stage, user=request.user)
    return redirect("annotation:connections", project.pk)


@for_members(Role.OWNER, "GET", "POST", back="annotation:connections")
def edit_connection(request: MemberRequest, project: Project, connection_id: int = 0) -> HttpResponse:
    """Add a further LLM, or change one; without an id, a new one begins with the settings of the project's own."""
    if connection_id:
        further = get_object_or_404(Connection, project=project, pk=connection_id)
    else:
        further = Connection(project=project, llm_settings=project.llm_settings)
    initial = FurtherLlmForm.initial_of(further)
    filled = preset_values(request, initial)
    posted = request.POST if request.method == "POST" and not filled else None
    form = FurtherLlmForm(posted, initial=filled or initial)
    if posted is None or not form.is_valid():
        return _form_page(request, project, further, form)
    try:
        store_connection(further, form, user=request.user)
    except AnnotationError as error:
        form.add_error("name", str(error))
        return _form_page(request, project, further, form)
    if "test" not in posted:
        return redirect("annotation:connections", project.pk)
    try:
        start_try_out.start_connection_test(project, user=request.user, connection=further)
    except MessageError as error:
        messages.error(request, str(error))
    return redirect("annotation:edit_connection", project.pk, further.pk)


def store_connection(further: Connection, form: FurtherLlmForm, *, user: User) -> None:
    """Store what a valid form holds, and write down who did.

    Raises:
        AnnotationError: another connection of the project has this name.
    """
    further.name = form.cleaned_data["name"]
    connection.save_connection(further)
    configuring.set_llm(
        further, config=form.llm_config(), token=form.token_change(), headers=form.headers_change()
    )
    activity.record(further.project, user=user, verb=Activity.Verb.CONFIGURED, what=further.name)


def _form_page(
    request: MemberRequest, project: Project, further: Connection, form: FurtherLlmForm
) -> HttpResponse:
    context = page_context(request, project, step="configure") | llm_context(project, form, further)
    return render(
        request,
        "annotation/project/connection.html",
        context | {"form": form, "further": further},
        status=400 if form.is_bound else 200,
    )


@for_members(Role.OWNER, "POST", back="annotation:connections")
def remove_connection(request: MemberRequest, project: Project, connection_id: int) -> HttpResponse:
    further = get_object_or_404(Connection, project=project, pk=connection_id)
    connection.remove_connection(further)
    messages.success(request, _("“%(name)s” is removed.") % {"name": further.name})
    return redirect("annotation:connections", project.pk)
