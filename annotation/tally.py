"""Exact counts of a project's rows at the price of a few rows, however large the corpus is.

What a stage writes (rows, flags) is counted once after it wrote; the copy carries a stamp of the stages that write, and
another stamp has it counted anew. What people decide is counted each time, by an index that holds only that.
"""

from __future__ import annotations

from django.db.models import Count

from annotation.models import Flag, Project, Source, Stage, Tally

FLAGS = (Flag.RIGHT, Flag.WRONG, Flag.INCONSISTENT)
WRITERS = (Stage.Kind.IMPORT, Stage.Kind.SLM)


def count_rows(project: Project) -> int:
    """All rows of the project."""
    return _tally(project).rows


def count_flags(project: Project) -> dict[str, int]:
    """Rows per flag that no person has decided."""
    flags = _tally(project).flags
    decided = _per_flag(project, source=Source.PERSON)
    return {flag: flags.get(flag, 0) - decided.get(flag, 0) for flag in FLAGS}


def forget(project: Project) -> None:
    """Have everything counted anew: for whoever writes rows or flags outside the stages."""
    Tally.objects.filter(project=project).delete()


def _tally(project: Project) -> Tally:
    stamp = _stamp(project)
    tally = Tally.objects.filter(project=project).first()
    if tally is None or tally.stamp != stamp:
        flags = _per_flag(project)
        counts = {"stamp": stamp, "rows": sum(flags.values()), "flags": flags}
        tally, _made = Tally.objects.update_or_create(project=project, defaults=counts)
    return tally


def _per_flag(project: Project, **chosen: str) -> dict[str, int]:
    found = project.samples.order_by().filter(**chosen).values_list("flag")
    return dict(found.annotate(Count("pk")))


def _stamp(project: Project) -> str:
    """The newest stage of each kind that writes rows, and how far it is."""
    found = []
    for kind in WRITERS:
        stage = project.stages.filter(kind=kind).order_by("-id").first()
        if stage:
            done = stage.done if stage.status == Stage.Status.RUNNING else ""
            found.append(f"{stage.pk}.{stage.attempt}.{stage.status}.{done}")
    return " ".join(found)
