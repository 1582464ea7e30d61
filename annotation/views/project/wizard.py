"""The configuration's steps: which there are, which are done, and where to go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from annotation.errors import AnnotationError
from annotation.models import Iteration, Project
from annotation.pipeline.iterate import start_round
from annotation.pipeline.label import script_warning
from annotation.pipeline.project import readiness
from annotation.views.access import MemberRequest
from annotation.views.frame import page_context
from mlcore.errors import EngineError


@dataclass(frozen=True, slots=True)
class WizardStep:
    name: str
    title: str
    url: str
    done: bool


def wizard_steps(project: Project) -> list[WizardStep]:
    started = project.iterations.exists()
    steps = [
        ("configure_task", _("Task"), True),
        ("configure_data", _("Data"), project.samples.exists()),
        ("configure_labels", _("Labels"), project.labels.count() > 1),
        ("configure_prompt", _("Prompt"), started or "prompt" in project.saved_steps),
        ("configure_models", _("Models"), started or "models" in project.saved_steps),
        ("configure_start", _("Check and start"), started),
    ]
    return [
        WizardStep(name, title, reverse(f"annotation:{name}", args=[project.pk]), done)
        for name, title, done in steps
    ]


def first_open(steps: list[WizardStep]) -> WizardStep:
    """The step at which a person who comes back goes on."""
    return next((step for step in steps if not step.done), steps[-1])


def obstacle_of(check: Callable[[], None]) -> str:
    """The sentence with which a check fails, or an empty string."""
    try:
        check()
    except (AnnotationError, EngineError) as error:
        return str(error)
    return ""


def wizard_context(request: MemberRequest, project: Project, *, step: str, **more: Any) -> dict[str, Any]:
    steps = wizard_steps(project)
    names = [each.name for each in steps]
    place = names.index(step)
    context = page_context(request, project, step="configure")
    now: Iteration | None = context["now"]
    missing_at, missing = readiness.missing_at(project) if steps[place].done else ("", "")
    warned = step in ("configure_models", "configure_start")  # where something can be done about it
    return context | {
        "script_warning": script_warning.script_warning(project) if warned else "",
        "stopped": start_round.stopped_without_answers(now) if now else None,
        "missing_here": missing if missing_at == step else "",
        "wizard": steps,
        "wizard_step": steps[place],
        "wizard_number": place + 1,
        "wizard_next": steps[place + 1] if place + 1 < len(steps) else None,
        **more,
    }
