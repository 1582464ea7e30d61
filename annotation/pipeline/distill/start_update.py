"""When the verdict is fitted anew to people's answers; light enough for a page."""

from __future__ import annotations

from contextlib import suppress

from annotation.errors import BusyError
from annotation.jobs import kinds, state
from annotation.models import Project, Sample
from mlcore.verdict import constants

UPDATE_EVERY = 20  # rows that people decided one by one


def update_when_due(project_id: int) -> None:
    """Queue an update after each ``UPDATE_EVERY`` answers, once there are enough to fit anything to."""
    checked = Sample.objects.checked_alone().filter(project=project_id).count()
    if checked < constants.FEWEST_CHECKED or checked % UPDATE_EVERY:
        return
    project = Project.objects.get(pk=project_id)
    if is_at_work(project):
        return
    with suppress(BusyError):  # an update is under way: the next answers bring another one
        state.create_stage(project, kinds.UPDATE, user=None)


def is_at_work(project: Project) -> bool:
    """Whether a job is active that decides the rows itself."""
    return project.stages.active().filter(exclusive_group=kinds.CORPUS).exists()
