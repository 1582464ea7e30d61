"""The configuration's step for both models: presets, the connection's test, and what keeps it from working."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from annotation.errors import AnnotationError
from annotation.forms.models import ModelsForm
from annotation.jobs import kinds
from annotation.jobs.details import ConnectionTest
from annotation.live import stage_status
from annotation.models import Project, Role
from annotation.pipeline.label import start_try_out
from annotation.pipeline.project import configure as configuring
from annotation.pipeline.project import connection, readiness
from annotation.pipeline.project.presets import preset_at, presets
from annotation.pipeline.project.text_length import count_cut_rows
from annotation.views.access import MemberRequest, for_members
from annotation.views.project.configure import record, step_page
from annotation.views.project.wizard import obstacle_of
from mlcore.errors import EngineError, ModelUnavailableError


@for_members(Role.OWNER, "GET", "POST", back="annotation:configure_models")
def configure_models(request: MemberRequest, project: Project) -> HttpResponse:
    """Store the settings, and go on, test the connection, or stay where something of it is missing."""
    initial = ModelsForm.initial_of(project)
    if preset := presets().get(request.POST.get("preset", "")):
        typed = {name: request.POST.get(name, "") for name in (*initial, "headers")}
        return _page(request, project, ModelsForm(initial=typed | preset.fields))
    if request.method != "POST":
        return _page(request, project, ModelsForm(initial=initial))
    form = ModelsForm(request.POST)
    if not form.is_valid():
        return _page(request, project, form)
    try:
        configuring.set_llm(
            project, config=form.llm_config(), token=form.token_change(), headers=form.headers_change()
        )
        configuring.set_slm(
            project,
            config=form.distill_config(seed=project.distill_config.seed),
            chain_stages=form.cleaned_data["chain_stages"],
        )
    except (AnnotationError, EngineError) as error:
        form.add_error(None, str(error))
        return _page(request, project, form)
    record(request, project, _("models"))
    if "test" in request.POST:
        start_try_out.start_connection_test(project, user=request.user)
        return redirect("annotation:configure_models", project.pk)
    _warn_of_cut_rows(request, project)
    if obstacle_of(lambda: readiness.check_connection(project)):
        return redirect("annotation:configure_models", project.pk)
    return redirect("annotation:configure_start", project.pk)


def _page(request: MemberRequest, project: Project, form: ModelsForm) -> HttpResponse:
    kind, address = form["kind"].value(), form["base_url"].value() or ""
    tested = ConnectionTest.from_json(project.llm_test)
    saved = project.llm_config
    is_same = saved.kind == kind and (kind != "endpoint" or saved.base_url == address)
    stage = project.stages.filter(kind=kinds.CONNECTION_TEST.key).first()
    context: dict[str, Any] = {
        "form": form,
        # A stored token never follows to another server.
        "token_end": connection.token_end(project) if is_same else "",
        "header_names": connection.header_names(project),
        "presets": presets().values(),
        "preset": preset_at(kind, address),
        "tested": tested if tested.of and is_same else None,
        **_missing(project, kind, address),
    }
    if stage and stage.is_active:
        context |= stage_status.stage_context(stage)
        del context["project"]
    return step_page(request, project, "configure_models", **context)


def _missing(project: Project, kind: str, address: str) -> dict[str, Any]:
    """What keeps the connection that the form shows from working, and where it is mended."""
    from mlcore.llm.endpoint.guard import check_address  # loads the hub's HTTP client, which few pages need

    if kind != "endpoint":
        is_saved = project.llm_config.kind == kind
        return {"missing": obstacle_of(lambda: readiness.check_connection(project)) if is_saved else ""}
    try:
        if address:
            check_address(address, connection.allowed_hosts())
    except ModelUnavailableError as error:
        host = error.message.params.get("host", "")
        where = reverse("admin:annotation_allowedhost_add") + f"?host={host}"
        fixed = settings.LLM_HOSTS_ARE_FIXED
        return {
            "missing": str(error),
            "allow_url": where if host and not fixed else "",
            "hosts_are_fixed": host and fixed,
        }
    return {}


def _warn_of_cut_rows(request: MemberRequest, project: Project) -> None:
    characters = project.llm_config.characters
    if count := count_cut_rows(project, characters):
        sentence = ngettext(
            "%(count)s row is longer than the %(characters)s characters that the model reads; it reads its beginning and end.",
            "%(count)s rows are longer than the %(characters)s characters that the model reads; it reads their beginning and end.",
            count,
        )
        messages.warning(request, sentence % {"count": f"{count:,}", "characters": f"{characters:,}"})
