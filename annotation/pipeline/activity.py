"""Who did what in a project: append-only, beside the corrections, which are a record of their own."""

from __future__ import annotations

from django.contrib.auth.models import User

from annotation.models import Activity, Project

LONGEST = 300  # characters


def record(project: Project, *, user: User, verb: Activity.Verb, what: str = "") -> None:
    """Write down that somebody did something, with what it was done to in a few words."""
    Activity.objects.create(project=project, user=user, verb=verb, what=what[:LONGEST])
