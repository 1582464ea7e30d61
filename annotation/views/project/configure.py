"""The configuration: task, labels, prompt, models, and the start. The data step stands in uploads.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from annotation.errors import AnnotationError
from annotation.forms.configure import (
    LabelFormSet,
    LabelListForm,
    MergeForm,
    PromptForm,
    ReferenceForm,
    TaskForm,
    label_drafts,
    label_form,
)
from annotation.forms.fields import sentence_of
from annotation.forms.given_labels import GivenLabelsForm
from annotation.forms.goal import GoalForm
from annotation.forms.models import ModelsForm
from annotation.models import Activity, Project, Role, Sample
from annotation.pipeline.engine_rows import as_row
from annotation.pipeline.ingest.reference_labels import (
    start_matching,
    suggest_labels,
    unknown_references_sentence,
)
from annotation.pipeline.iterate import start_round
from annotation.pipeline.project import activity, connection, readiness
from annotation.pipeline.project import configure as configuring
from annotation.pipeline.project.default_prompts import default_prompts, use_corpus_language
from annotation.pipeline.project.goal import set_goal
from annotation.pipeline.project.merge_labels import merge_label
from annotation.views.access import MemberRequest, for_members
from annotation.views.project.projects import task_choices
from annotation.views.project.wizard import first_open, obstacle_of, wizard_context, wizard_steps
from mlcore.prompting.prompts import PromptTemplate, check_template, render_prompt, unknown_placeholders
from mlcore.records import Demonstration, Prompt

PREVIEW_PROMPTS = 3


def record(request: MemberRequest, project: Project, what: str) -> None:
    activity.record(project, user=request.user, verb=Activity.Verb.CONFIGURED, what=what)


@for_members(Role.OWNER, "GET")
def configure(request: MemberRequest, project: Project) -> HttpResponse:
    """Go on where the configuration is not finished yet."""
    return redirect(first_open(wizard_steps(project)).url)


@for_members(Role.OWNER, "GET", "POST")
def configure_task(request: MemberRequest, project: Project) -> HttpResponse:
    form = TaskForm(
        request.POST if request.method == "POST" else None,
        initial={"name": project.name, "task_type": project.task_type},
    )
    if request.method == "POST" and form.is_valid():
        try:
            configuring.set_task(
                project, name=form.cleaned_data["name"], task_type=form.cleaned_data["task_type"]
            )
        except AnnotationError as error:
            project.refresh_from_db()
            form.add_error("task_type", str(error))
        else:
            record(request, project, _("task"))
            return redirect("annotation:configure_data", project.pk)
    return step_page(request, project, "configure_task", form=form, tasks=task_choices())


@for_members(Role.OWNER, "GET", "POST")
def configure_labels(request: MemberRequest, project: Project) -> HttpResponse:
    """The labels, line by line or, where there are many or a person wants to paste them, as a list."""
    posted = request.POST if request.method == "POST" else None
    references = ReferenceForm(posted, instance=project)
    if posted is None:
        return _labels_page(request, project, label_form(label_drafts(project)), references)
    form: Any = LabelListForm(posted) if "label_list" in posted else LabelFormSet(posted, prefix="labels")
    if not (form.is_valid() and references.is_valid()):
        return _labels_page(request, project, form, references)
    change = posted.get("change", "")
    drafts = form.drafts(change)
    if change:
        return _labels_page(request, project, label_form(drafts, change), references)
    names = dict(project.labels.values_list("pk", "name"))
    try:
        labels = configuring.set_labels(project, drafts)
        is_renamed = set(names.values()) != {label.name for label in labels}
        is_matched = start_matching(project, user=request.user, renamed=is_renamed)
    except AnnotationError as error:
        return _labels_page(request, project, form, references, sentence=str(error))
    project.save(update_fields=["unknown_references"])
    if is_matched and (sentence := unknown_references_sentence(project)):
        messages.warning(request, sentence)
    renamed = [
        f"“{names[label.pk]}” → “{label.name}”"
        for label in labels
        if names.get(label.pk, label.name) != label.name
    ]
    record(request, project, ", ".join([_("labels"), *renamed]))
    use_corpus_language(project)
    following = "configure_models" if posted.get("next") == "models" else "configure_prompt"
    return redirect(f"annotation:{following}", project.pk)


@for_members(Role.OWNER, "POST", back="annotation:configure_labels")
def merge_labels(request: MemberRequest, project: Project) -> HttpResponse:
    """Merge a label into another one, or delete it."""
    form = MergeForm(request.POST, project=project)
    if not form.is_valid():
        messages.error(request, sentence_of(form))
        return redirect("annotation:configure_labels", project.pk)
    label, into = form.cleaned_data["label"], form.cleaned_data["into"]
    name = label.name
    try:
        rows = merge_label(project, label, into, user=request.user)
    except AnnotationError as error:
        messages.error(request, str(error))
    else:
        done = (
            _("“%(label)s” is now “%(into)s” (%(rows)s rows).")
            if into
            else _("“%(label)s” is deleted (%(rows)s rows).")
        )
        messages.success(request, done % {"label": name, "into": into and into.name, "rows": f"{rows:,}"})
    return redirect("annotation:configure_labels", project.pk)


def _labels_page(
    request: MemberRequest, project: Project, form: Any, references: ReferenceForm, *, sentence: str = ""
) -> HttpResponse:
    suggested = bool(project.reference_column) and not project.labels.exists()
    return step_page(
        request,
        project,
        "configure_labels",
        failed=bool(sentence) or (form.is_bound and not form.is_valid()),
        list_form=form if isinstance(form, LabelListForm) else None,
        formset=form,
        merge_form=MergeForm(project=project) if project.labels.count() > 2 else None,
        references=references,
        sentence=sentence,
        suggested=suggested,
        left_out_rows=suggest_labels(project).left_out_rows if suggested else 0,
    )


@for_members(Role.OWNER, "GET", "POST")
def configure_prompt(request: MemberRequest, project: Project) -> HttpResponse:
    stored = {
        "description": project.prompt_description,
        "demonstration": project.prompt_demonstration,
        "output": project.prompt_output,
    }
    form = PromptForm(request.POST if request.method == "POST" else None, initial=stored)
    template = project.prompt
    if request.method == "POST" and form.is_valid():
        template = replace(template, **form.cleaned_data)
        if "preview" not in request.POST:
            try:
                configuring.set_prompt(project, **form.cleaned_data)
                record(request, project, _("prompt"))
                if unknown := _unknown_words(template):
                    messages.warning(request, unknown)
                return redirect("annotation:configure_models", project.pk)
            except AnnotationError as error:
                form.add_error(None, str(error))
    return step_page(
        request,
        project,
        "configure_prompt",
        form=form,
        defaults=default_prompts(project.task),
        **prompt_preview(project, template),
    )


@for_members(Role.OWNER, "POST")
def preview_prompt(request: MemberRequest, project: Project) -> HttpResponse:
    """What the model will read, for the prompt as it is being typed. Stores nothing."""
    blocks: dict[str, Any] = {
        name: request.POST.get(name, "") for name in ("description", "demonstration", "output")
    }
    return render(
        request,
        "annotation/project/_prompt_preview.html",
        {"project": project} | prompt_preview(project, replace(project.prompt, **blocks)),
    )


def prompt_preview(project: Project, template: PromptTemplate) -> dict[str, Any]:
    """The prompt of the first rows, and what is wrong with it in sentences."""
    problems = check_template(template)
    samples = list(project.samples.order_by("position")[:PREVIEW_PROMPTS])
    latest = project.latest_iteration()
    if latest and latest.demonstrations:
        demonstrations = [
            Demonstration(each["key"], each["shown"], each["label"]) for each in latest.demonstrations
        ]
    else:
        demonstrations = [Demonstration(0, _("(a row chosen when the run starts)"), _("(its label)"))]
    labels = project.label_set()

    def prompt_of(sample: Sample) -> Prompt:
        shown = project.task.show(as_row(sample, project))
        return render_prompt(template, labels=labels, demonstrations=demonstrations, shown=shown)

    return {
        "problems": problems,
        "unknown": _unknown_words(template),
        "prompts": [] if problems else [(sample, prompt_of(sample)) for sample in samples],
        "has_rows": bool(samples),
        "own_demonstrations": bool(latest),
    }


def _unknown_words(template: PromptTemplate) -> str:
    """What to say of words in braces that are no placeholders; nothing, if there are none."""
    written = ", ".join(f"{{{name}}}" for name in unknown_placeholders(template))
    return written and _("%(names)s is not a placeholder of CORAL; it is sent to the model as is.") % {
        "names": written
    }


@for_members(Role.OWNER, "GET", "POST", back="annotation:configure_start")
def configure_start(request: MemberRequest, project: Project) -> HttpResponse:
    """Look at everything once more, set the goal, then start the first round."""
    form = GoalForm(request.POST if request.method == "POST" else None, project=project)
    if request.method == "POST" and form.is_valid():
        if project.iterations.exists():
            messages.info(request, _("The project has already been started."))
        else:
            iteration = start_round.start_round(project, started_from="llm", user=request.user)
            set_goal(project, user=request.user, **form.cleaned_data)
            activity.record_round(iteration, user=request.user)
        return redirect("annotation:labeling", project.pk)
    return step_page(
        request,
        project,
        "configure_start",
        form=form,
        obstacle=obstacle_of(lambda: readiness.check_ready(project, started_from="llm")),
        mend_at=readiness.missing_at(project)[0],
        given_form=GivenLabelsForm(project=project) if _may_hold_labels(project) else None,
        can_try=not obstacle_of(lambda: readiness.check_trial_ready(project)),
        rows=project.samples.count(),
        labels=project.label_list(),
        llm=project.llm_config,
        slm=project.distill_config,
        llm_kind=dict(ModelsForm.KINDS)[project.llm_config.kind],
        token_end=connection.token_end(project),
    )


def _may_hold_labels(project: Project) -> bool:
    """Whether the rows have a column beside content and id, and the project has labels to find in it."""
    return (
        len(project.columns) > len({*project.content_columns, project.id_column} - {""})
        and project.labels.count() > 1
    )


def step_page(
    request: MemberRequest, project: Project, step: str, *, failed: bool = False, **context: Any
) -> HttpResponse:
    form = context.get("form")
    failed = failed or bool(form is not None and form.is_bound and form.errors)
    return render(
        request,
        f"annotation/project/{step}.html",
        wizard_context(request, project, step=step, **context),
        status=400 if failed else 200,
    )
