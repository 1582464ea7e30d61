"""Whose turn it is. A message tells a worker that a job waits; which one it takes, the rows say.

Jobs for which people wait, and small ones, have a queue and threads of their own. Among the others the owner goes first
of whose projects the fewest are at work, then the project, then who has waited longest. A long labeling gives its thread
back while another owner's job waits for one; it goes on where it stopped.
"""

from __future__ import annotations

from collections import Counter

from django.db.models import Min, Q

from annotation.jobs.kinds import KINDS, kind_of
from annotation.models import Stage
from annotation.models.sql import from_now

SHORT = "short"
SHORT_ROWS = 2_000  # so many rows are labelled or trained on within a minute or two
TURN_SECONDS = 120.0
WAIT_SECONDS = 10.0  # a free worker has taken up a job long before


def queue_of(stage: Stage) -> str:
    """The broker's queue that a stage waits in."""
    kind = kind_of(stage)
    is_small = kind.counts_rows and 0 < stage.total <= SHORT_ROWS
    return SHORT if kind.is_interactive or is_small else kind.queue


def queues() -> list[str]:
    """The broker's queues, each once, in the order of the alphabet."""
    return sorted({SHORT, *(kind.queue for kind in KINDS.values())})


def waiting_in(queue: str) -> list[Stage]:
    """The waiting stages of a queue, in the order in which they are to be taken up; of a stage in parts the first part."""
    queued = Stage.objects.filter(status=Stage.Status.QUEUED, kind__in=KINDS)
    of_running = queued.filter(parent__status=Stage.Status.RUNNING, parent__requested_action="")
    firsts = of_running.order_by().values("parent").annotate(first=Min("pk")).values("first")
    found = queued.filter(Q(parent=None) | Q(pk__in=firsts)).select_related("project")
    waiting = [stage for stage in found if queue_of(stage) == queue]
    owners, projects = _at_work(queue) if len(waiting) > 1 else (Counter[int](), Counter[int]())
    return sorted(
        waiting,
        key=lambda stage: (owners[stage.project.owner_id], projects[stage.project_id], stage.queued_at),
    )


def gives_way(stage: Stage) -> bool:
    """Whether a stage at work is to go back to its queue: another owner, of whose jobs fewer are at work, has waited for a
    while, and nobody of the others who have as many at work has been at it for longer."""
    queue = queue_of(stage)
    owners, _projects = _at_work(queue)
    late = Stage.objects.filter(
        status=Stage.Status.QUEUED, parent=None, queued_at__lt=from_now(seconds=-WAIT_SECONDS)
    )
    fewest = min(
        (owners[each.project.owner_id] for each in late.select_related("project") if queue_of(each) == queue),
        default=None,
    )
    if fewest is None:
        return False
    longest = [
        each
        for each in _running(queue)
        if kind_of(each).takes_turns and owners[each.project.owner_id] > fewest
    ]
    return bool(longest) and longest[0].pk == stage.pk


def _running(queue: str) -> list[Stage]:
    running = (
        Stage.objects.filter(status=Stage.Status.RUNNING).order_by("started_at").select_related("project")
    )
    return [stage for stage in running if queue_of(stage) == queue]


def _at_work(queue: str) -> tuple[Counter[int], Counter[int]]:
    """How many stages of each owner, and of each project, are at work."""
    running = _running(queue)
    return Counter(stage.project.owner_id for stage in running), Counter(
        stage.project_id for stage in running
    )
