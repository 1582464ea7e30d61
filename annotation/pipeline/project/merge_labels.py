"""A label that rows carry becomes another, or none: everything that names it, in pieces, so that nobody waits long."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db import models, transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from annotation.errors import AnnotationError
from annotation.jobs.state import replan
from annotation.models import Activity, Correction, Flag, Label, Project, Sample, Source
from annotation.models.sql import parts_by_key
from annotation.pipeline.project import activity
from annotation.pipeline.project.configure import check_idle

_ROWS = 2_000
_NO_VERDICT: dict[str, Any] = {
    "label": None,
    "source": Source.NONE,
    "machine_label": None,
    "risk": None,
    "flag": Flag.NONE,
    "queue_rank": None,
}


def merge_label(project: Project, label: Label, into: Label | None, *, user: User) -> int:
    """Replace a label by another on rows, predictions and corrections, and remove it. Rows keep their ids, and the project's
    activity says what was merged.

    Args:
        into: the label that takes its place; None deletes it: rows to which models gave it have no label then.

    Returns:
        How many rows carried it.

    Raises:
        AnnotationError: fewer than two labels would be left, or people gave a label that is to be deleted.
        BusyError: a job of the project is running.
    """
    check_idle(project)
    if project.labels.count() < 3:
        raise AnnotationError("A project needs at least 2 labels. Add another one first.")
    people = Correction.objects.filter(label=label).values("sample").distinct().count()
    if into is None and people:
        raise AnnotationError(
            "People gave “%(name)s” to %(rows)s rows, and their decisions are kept. Merge it into another label instead.",
            name=label.name,
            rows=people,
        )
    carried = project.samples.filter(label=label).count()
    for relation in label._meta.get_fields(include_hidden=True):
        if isinstance(relation, models.ManyToOneRel):
            _replace(relation.related_model, relation.field.name, label, into)
    with transaction.atomic():
        name = label.name
        label.delete()
        what = (
            _("labels: “%(label)s” merged into “%(into)s” on %(rows)s rows")
            if into
            else _("labels: “%(label)s” deleted from %(rows)s rows")
        )
        words = what % {"label": name, "into": into.name if into else "", "rows": f"{carried:,}"}
        activity.record(project, user=user, verb=Activity.Verb.CONFIGURED, what=words)
    replan(project.pk)
    return carried


def _replace(model: Any, field: str, label: Label, into: Label | None) -> None:
    carrying = model._base_manager.order_by().filter(Q(**{field: label}))
    for keys in parts_by_key(carrying.values_list("pk", flat=True), "pk", _ROWS, int):
        rows = model._base_manager.filter(pk__in=keys)
        if into is None and model is Sample and field == "label":
            rows.update(**_NO_VERDICT)
        else:
            rows.update(**{field: into})
