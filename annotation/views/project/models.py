"""The configuration's step for both models."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from annotation.errors import AnnotationError
from annotation.forms.models import ModelsForm
from annotation.models import Activity, Project, Role
from annotation.pipeline.ingest.reference_labels import ROWS_AT_ONCE
from annotation.pipeline.label import start_try_out
from annotation.pipeline.project import activity, readiness
from annotation.pipeline.project import configure as configuring
from annotation.pipeline.project.text_length import count_cut_rows
from annotation.views.access import MemberRequest, for_members
from annotation.views.project.configure import step_page
from annotation.views.project.connections import llm_context, preset_values
from annotation.views.project.wizard import obstacle_of
from mlcore.errors import EngineError


@for_members(Role.OWNER, "GET", "POST", back="annotation:configure_models")
def configure_models(request: MemberRequest, project: Project) -> HttpResponse:
    """Store the settings, and go on, test the connection, or stay where something of it is missing."""
    initial = ModelsForm.initial_of(project)
    if filled := preset_values(request, initial):
        return _page(request, project, ModelsForm(initial=filled))
    if request.method != "POST":
        return _page(request, project, ModelsForm(initial=initial))
    form = ModelsForm(request.POST)
    if not form.is_valid():
        return _page(request, project, form)
    try:
        store_models(project, form, user=request.user)
    except (AnnotationError, EngineError) as error:
        form.add_error(None, str(error))
        return _page(request, project, form)
    if "test" in request.POST:
        start_try_out.start_connection_test(project, user=request.user)
        return redirect("annotation:configure_models", project.pk)
    _warn_of_cut_rows(request, project)
    if obstacle_of(lambda: readiness.check_connection(project)):
        return redirect("annotation:configure_models", project.pk)
    return redirect("annotation:configure_start", project.pk)


def store_models(project: Project, form: ModelsForm, *, user: User) -> None:
    """Store what a valid form holds, and write down who did."""
    configuring.set_llm(
        project, config=form.llm_config(), token=form.token_change(), headers=form.headers_change()
    )
    configuring.set_slm(
        project,
        config=form.distill_config(seed=project.distill_config.seed),
        chain_stages=form.cleaned_data["chain_stages"],
    )
    activity.record(project, user=user, verb=Activity.Verb.CONFIGURED, what=_("models"))


def _page(request: MemberRequest, project: Project, form: ModelsForm) -> HttpResponse:
    return step_page(request, project, "configure_models", form=form, **llm_context(project, form, project))


def _warn_of_cut_rows(request: MemberRequest, project: Project) -> None:
    characters = project.llm_config.characters
    if project.samples.count() > ROWS_AT_ONCE:
        return  # counting their characters takes seconds; the trial and the run tell it, too
    if count := count_cut_rows(project, characters):
        sentence = ngettext(
            "%(count)s row is longer than the %(characters)s characters that the model reads; it reads its beginning and end.",
            "%(count)s rows are longer than the %(characters)s characters that the model reads; it reads their beginning and end.",
            count,
        )
        messages.warning(request, sentence % {"count": f"{count:,}", "characters": f"{characters:,}"})
