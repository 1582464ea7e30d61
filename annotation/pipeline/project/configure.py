"""Make a project, and set what decides how its corpus is labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from unicodedata import east_asian_width

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext as _

from annotation.errors import AnnotationError, BusyError
from annotation.jobs import kinds
from annotation.models import (
    Activity,
    ConnectionSettings,
    Correction,
    Label,
    Membership,
    Prediction,
    Project,
    Role,
    Sample,
)
from annotation.pipeline.ingest.reference_labels import MAX_LABELS
from annotation.pipeline.project import activity
from annotation.pipeline.project.connection import identity_of
from mlcore.config import DistillConfig, LlmConfig
from mlcore.prompting.answers import confusable_names
from mlcore.prompting.prompts import PromptTemplate, check_template
from mlcore.prompting.tasks import task_named

PALETTE_SIZE = 10
MANY_LABELS = 60  # more are edited as a list, and chosen by typing
RESERVED_KEYS = {"u", "s", "x", "?"}  # undo, skip, unclear and help in the focus view


@dataclass(frozen=True, slots=True)
class LabelDraft:
    """A label as a person typed it; ``label`` is the id of the one that it was, where it had another name."""

    name: str
    description: str = ""
    key: str = ""
    label: int | None = None


def create_project(*, name: str, task_type: str, owner: User) -> Project:
    """Make a project with its task's default prompt; the maker becomes its owner.

    Raises:
        InvalidInputError: there is no such task type.
    """
    template = task_named(task_type).default_prompt
    with transaction.atomic():
        project = Project.objects.create(
            name=name,
            task_type=task_type,
            owner=owner,
            prompt_description=template.description,
            prompt_demonstration=template.demonstration,
            prompt_output=template.output,
            llm_settings=LlmConfig().as_dict(),
            slm_settings=DistillConfig().as_dict(),
        )
        Membership.objects.create(project=project, user=owner, role=Role.OWNER)
    return project


def set_task(project: Project, *, name: str, task_type: str) -> None:
    """Rename the project or change its task type; an untouched default prompt follows the task.

    Raises:
        AnnotationError: the corpus has been labelled already.
    """
    changed = task_type != project.task_type
    if changed and project.iterations.exists():
        raise AnnotationError(
            "The task type can't be changed after a round has started. Create a new project for another task."
        )
    if changed and project.prompt == project.task.default_prompt:
        template = task_named(task_type).default_prompt
        project.prompt_description = template.description
        project.prompt_demonstration = template.demonstration
        project.prompt_output = template.output
    project.name, project.task_type = name, task_type
    project.save()


def set_labels(project: Project, drafts: Sequence[LabelDraft]) -> list[Label]:
    """Make the project's labels be exactly these, in this order, matched by their id, else by name: rows keep their label under
    its new name.

    A label that rows carry is never removed in silence: :func:`merge_label` first.

    Raises:
        AnnotationError: fewer than 2 or more than 1,000 labels, equal names or keys, an empty name, or a label in use left out.
        BusyError: a stage is at work.
    """
    drafts = [
        replace(draft, name=draft.name.strip(), description=draft.description.strip(), key=draft.key.strip())
        for draft in drafts
    ]
    _check_drafts(drafts)
    check_idle(project)
    with transaction.atomic():
        existing = project.label_list()
        by_id, by_name = ({label.pk: label for label in existing}, {label.name: label for label in existing})
        chosen = [by_id.get(draft.label or 0) for draft in drafts]
        taken = {label.pk for label in chosen if label}
        for place, draft in enumerate(drafts):
            same = by_name.get(draft.name)
            if chosen[place] is None and same and same.pk not in taken:
                chosen[place] = same
                taken.add(same.pk)
        _remove_labels([label for label in existing if label.pk not in taken])
        # Names may change places, and no two may be the same even for a moment.
        for label in existing:
            if label.pk in taken and not any(
                kept == label and draft.name == label.name for kept, draft in zip(chosen, drafts, strict=True)
            ):
                project.labels.filter(pk=label.pk).update(name=f"\u200b{label.pk}")
        for position, (draft, old) in enumerate(zip(drafts, chosen, strict=True)):
            label = old or Label(project=project, colour=position % PALETTE_SIZE)
            label.name, label.description, label.key = draft.name, draft.description, draft.key
            label.position = position
            label.save()
    return project.label_list()


def check_idle(project: Project) -> None:
    """Raise BusyError while a job may give rows the labels that are to change."""
    if project.stages.active().exclude(kind__in=kinds.keys(lambda kind: kind.is_aside)).exists():
        raise BusyError(
            "A job of this project is running. Change the labels when it is done, or cancel it first."
        )


def _check_drafts(drafts: Sequence[LabelDraft]) -> None:
    names = [draft.name for draft in drafts]
    keys = [draft.key for draft in drafts if draft.key]
    if len(drafts) < 2:
        raise AnnotationError(
            "There is %(count)s label; a model needs at least 2 to choose between.", count=len(drafts)
        )
    if len(drafts) > MAX_LABELS:
        raise AnnotationError(
            "There are %(count)s labels; at most %(most)s are allowed. Is the right column chosen?",
            count=len(drafts),
            most=MAX_LABELS,
        )
    if not all(names):
        raise AnnotationError("A label has no name. Give it one or remove the line.")
    if alike := confusable_names(names):
        raise AnnotationError(
            "An answer could not tell these label names apart: %(names)s. Make them differ in more than capitals, "
            "quotes, brackets or a full stop.",
            names=", ".join(sorted(set(alike))),
        )
    if composed := next((key for key in keys if east_asian_width(key) in "WF"), ""):
        raise AnnotationError("“%(key)s” is not a single key. Use a letter, a digit or a sign.", key=composed)
    if taken := next((key for key in keys if key.lower() in RESERVED_KEYS), ""):
        raise AnnotationError(
            "“%(key)s” is already used on the review page. Use another letter, digit or sign.", key=taken
        )
    if len(set(keys)) < len(keys):
        raise AnnotationError("Two labels have the same key. Each key can belong to only one label.")


def _remove_labels(labels: Sequence[Label]) -> None:
    for label in labels:
        if _is_used(label):
            raise AnnotationError(
                "The label “%(name)s” is used on rows. Keep its line, where it can be renamed, or merge it into another label.",
                name=label.name,
            )
        label.delete()


def _is_used(label: Label) -> bool:
    """Whether a person or a model has ever given it to a row."""
    return (
        Correction.objects.filter(label=label).exists()
        or Sample.objects.filter(label=label).exists()
        or Prediction.objects.filter(label=label).exists()
    )


def _plain_block(text: str) -> str:
    """A block as the model gets it: browsers send every line end as two characters."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def set_prompt(project: Project, *, description: str, demonstration: str, output: str) -> None:
    """Store the prompt's three blocks.

    Raises:
        AnnotationError: a placeholder that must be there is missing, or a block is too long; all problems at once.
    """
    template = PromptTemplate(_plain_block(description), _plain_block(demonstration), _plain_block(output))
    problems = check_template(template)
    if problems:
        sentences = " ".join(map(str, problems))
        raise AnnotationError(sentences)
    project.prompt_description = template.description
    project.prompt_demonstration = template.demonstration
    project.prompt_output = template.output
    project.save(update_fields=["prompt_description", "prompt_demonstration", "prompt_output"])
    _mark_saved(project, "prompt")


def set_llm(
    connected: ConnectionSettings, *, config: LlmConfig, token: str | None, headers: str | None = None
) -> None:
    """Store the LLM's settings. None leaves the stored token or headers; neither ever follows to another server."""
    before = connected.llm_config
    connected.llm_settings = config.as_dict()
    if (before.kind, before.base_url) != (config.kind, config.base_url):
        connected.llm_token = connected.llm_headers = ""
    if token is not None:
        connected.llm_token = token
    if headers is not None:
        connected.llm_headers = headers
    if token is not None or headers is not None or identity_of(before) != identity_of(config):
        connected.llm_test = {}
    connected.save(update_fields=["llm_settings", "llm_token", "llm_headers", "llm_test"])


def set_slm(project: Project, *, config: DistillConfig, chain_stages: bool) -> None:
    """Store the small model's settings, and whether it starts by itself once the LLM is done."""
    project.slm_settings = config.as_dict()
    project.chain_stages = chain_stages
    project.save(update_fields=["slm_settings", "chain_stages"])
    _mark_saved(project, "models")


def set_guidelines(project: Project, *, user: User, guidelines: str, double_review_percent: int) -> None:
    """Set what reviewers go by, and how many rows two people label."""
    project.guidelines, project.double_review_percent = guidelines, double_review_percent
    project.save(update_fields=["guidelines", "double_review_percent"])
    activity.record(project, user=user, verb=Activity.Verb.CONFIGURED, what=_("guidelines"))


def _mark_saved(project: Project, step: str) -> None:
    """Prompt and models start with defaults that are good enough to run; the wizard ticks them once somebody saved them."""
    if step not in project.saved_steps:
        project.saved_steps = [*project.saved_steps, step]
        project.save(update_fields=["saved_steps"])
