"""Exact counts of a project's rows at the price of a few rows, however large the corpus is.

What a stage writes (rows, flags) is counted once after it wrote; the copy carries a stamp of the stages that write, and
another stamp has it counted anew. What people decide is counted each time, by an index that holds only that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.core.cache import cache
from django.db.models import Count, QuerySet

from annotation.jobs.kinds import keys
from annotation.models import Flag, Project, Source, Stage
from annotation.table.filters import Conditions, flag_conditions

COUNTED_ROWS = 20_000  # so many are gone through to count what matches: about 20 ms
FLAGS = (Flag.RIGHT, Flag.WRONG, Flag.INCONSISTENT)


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows of a project.

    Attributes:
        rows: all.
        flags: those of each flag that no person has decided.
        decided: those that a person has decided.
    """

    rows: int
    flags: dict[Flag, int]
    decided: int


def count_rows(project: Project) -> Counts:
    """The counts as they are now."""
    written = _flags(project, _writers().filter(project=project))
    decided = _per_flag(project, source=Source.PERSON)
    flags = {flag: written.get(flag, 0) - decided.get(flag, 0) for flag in FLAGS}
    return Counts(sum(written.values()), flags, sum(decided.values()))


def count_matching(project: Project, conditions: Conditions, counts: Counts) -> int | None:
    """How many rows match; None where only a walk through a large corpus would tell."""
    if not conditions.needs_search:
        return counts.rows
    for flag in FLAGS:
        if conditions == flag_conditions(flag):
            return counts.flags[flag]
    return conditions.apply(project.samples.order_by()).count() if counts.rows <= COUNTED_ROWS else None


def row_counts(projects: Sequence[Project]) -> dict[int, int]:
    """Rows of each of these projects, by its id. Those whose copy still holds take one query together."""
    stages: dict[int, list[Stage]] = {project.pk: [] for project in projects}
    for stage in _writers().filter(project__in=projects):
        stages[stage.project_id].append(stage)
    return {project.pk: sum(_flags(project, stages[project.pk]).values()) for project in projects}


def _flags(project: Project, stages: Iterable[Stage]) -> dict[str, int]:
    """Rows of each flag, those that people decided among them."""
    # The copy lies in the memory of the process: a page that is only looked at writes nothing to the database.
    key, stamp = f"flags-{project.pk}-{project.created_at.timestamp()}", _stamp(stages)
    known_stamp, flags = cache.get(key, (None, {}))
    if known_stamp != stamp:
        flags = _per_flag(project)
        cache.set(key, (stamp, flags), timeout=None)
    return dict(flags)


def _per_flag(project: Project, **chosen: str) -> dict[str, int]:
    found = project.samples.order_by().filter(**chosen).values_list("flag")
    # Of rows, not of their ids: PostgreSQL then reads the index and nothing else.
    return dict(found.annotate(rows=Count("*")))


def _writers() -> QuerySet[Stage]:
    """Stages that write rows, the oldest first."""
    stages = Stage.objects.filter(kind__in=keys(lambda kind: kind.changes_counts)).order_by("id")
    return stages.only("project_id", "kind", "attempt", "status", "done")


def _stamp(stages: Iterable[Stage]) -> str:
    """The newest stage of each kind that writes a project's rows, and how far it is."""
    newest = {stage.kind: stage for stage in stages}
    return " ".join(
        f"{stage.pk}.{stage.attempt}.{stage.status}"
        + (f".{stage.done}" if stage.status == Stage.Status.RUNNING else "")
        for stage in newest.values()
    )
