"""Who did what in a project: append-only, beside the corrections, which are a record of their own."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from annotation.jobs.kinds import kind_name
from annotation.models import Activity, Iteration, Project, Stage

LONGEST = 300  # characters


def record(project: Project, *, user: User, verb: Activity.Verb, what: str = "") -> None:
    """Write down that somebody did something, with what it was done to in a few words."""
    Activity.objects.create(project=project, user=user, verb=verb, what=what[:LONGEST])


def record_stage(stage: Stage, *, user: User) -> None:
    """Write down that somebody started a job."""
    record(stage.project, user=user, verb=Activity.Verb.STARTED, what=kind_name(stage))


def record_round(iteration: Iteration, *, user: User) -> None:
    """Write down that somebody started a round."""
    what = _("round %(number)d (%(start)s)") % {
        "number": iteration.number,
        "start": iteration.get_started_from_display(),
    }
    record(iteration.project, user=user, verb=Activity.Verb.STARTED, what=what)
