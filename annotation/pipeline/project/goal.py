"""A project's goal: what its file is to reach, what that may take, and what was spent so far."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from annotation.jobs import state
from annotation.jobs.details import stage_cost
from annotation.models import Goal, Project, Stage
from mlcore.config import LlmConfig

CHANGEABLE = ("target", "confidence", "money", "tokens", "minutes", "until", "webhook", "autopilot")


def goal_of(project: Project) -> Goal | None:
    """The goal that holds; None where nobody has set one."""
    return project.goals.first()


def set_goal(project: Project, *, user: User, **values: Any) -> Goal:
    """Set the goal, or some of its parts: what is not given stays. The goal before it is kept.

    Args:
        values: fields of :class:`Goal`, see ``CHANGEABLE``.
    """
    with transaction.atomic():
        before = goal_of(project)
        kept = {name: getattr(before, name) for name in CHANGEABLE} if before else {}
        if before and kept | values == kept:
            return before
        goal = Goal.objects.create(project=project, set_by=user, **(kept | values))
        state.replan(project.pk)
    return goal


def goal_changes(project: Project) -> list[tuple[Goal, list[tuple[str, Any, Any]]]]:
    """Each goal that was ever set, newest first, with the fields in which it differs from the one before it: name, from, to."""
    goals = list(project.goals.select_related("set_by"))
    names = {field.name: field.verbose_name for field in Goal._meta.fields}
    changes = []
    for goal, before in zip_longest(goals, goals[1:]):
        fields = [
            (str(names[name]), before and getattr(before, name), now)
            for name in CHANGEABLE
            if (now := getattr(goal, name)) != (getattr(before, name) if before else None)
        ]
        changes.append((goal, fields))
    return changes


def limits_of(stage: Stage, config: LlmConfig) -> tuple[int, float]:
    """Tokens and money that a run may take in all: the budget of its LLM, and what the project's other runs left of the goal's
    limits. 0 is no limit, as in :class:`mlcore.llm.budget.Budget`."""
    goal = goal_of(stage.project)
    tokens, money = spent(stage.project, without=stage)
    left_tokens = None if goal is None or goal.tokens is None else max(goal.tokens - tokens, 1)
    left_money = None if goal is None or goal.money is None else max(goal.money - money, 1e-9)
    return (
        int(min(filter(None, (config.budget_tokens, left_tokens)), default=0)),
        float(min(filter(None, (config.budget_money, left_money)), default=0.0)),
    )


def spent(project: Project, *, without: Stage | None = None) -> tuple[int, float]:
    """Tokens that the project's runs have taken, and their cost at the prices of the time; 0 where none were set."""
    stages = [stage for stage in project.stages.filter(tokens_in__gt=0, parent=None) if stage != without]
    return sum(stage.tokens_in + stage.tokens_out for stage in stages), sum(
        stage_cost(stage) or 0.0 for stage in stages
    )
