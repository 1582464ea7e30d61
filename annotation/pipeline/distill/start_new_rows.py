"""Start the labeling of new rows by the kept model."""

from __future__ import annotations

from django.contrib.auth.models import User

from annotation.errors import NotReadyError
from annotation.jobs import kinds, state
from annotation.models import Project, Stage
from annotation.models.sample import SampleQuerySet
from annotation.pipeline.distill.kept_model import needed_model
from annotation.pipeline.project.readiness import check_idle


def new_rows(project: Project) -> SampleQuerySet:
    """Rows that no small model has labelled, while a round is in force."""
    if project.iterations.in_force() is None:
        return project.samples.none()
    return project.samples.filter(slm_label__isnull=True)


def start_new_rows(project: Project, *, user: User | None) -> Stage:
    """Queue the labeling of the new rows by the kept model.

    Raises:
        NotReadyError: there is no model, no new row, or the labels are others by now.
        BusyError: a stage is at work.
    """
    check_idle(project)
    needed_model(project).label_ids()
    count = new_rows(project).count()
    if count == 0:
        raise NotReadyError("Every row has a label of the small model already. Add rows first.")
    return state.create_stage(project, kinds.NEW_ROWS, total=count, user=user)
