"""Answers of the focus view, for its page and the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from annotation.errors import AnnotationError
from annotation.models import Correction, Project, Sample
from annotation.pipeline.measure import compare_rounds
from annotation.pipeline.review import corrections, marks, queue


def save_answer(sample: Sample, answer: Mapping[str, Any], *, user: User) -> tuple[Sample, str]:
    """Save what a valid form of an answer holds. Returns the row, and what to say where a second answer is not the first one."""
    sample = corrections.correct_sample(
        sample.pk,
        label_id=answer["label"].pk,
        user=user,
        seen_version=answer["version"],
        because=answer["because"],
        answer_id=answer["id"],
        seconds=answer["seconds"],
    )
    if answer["because"] == Correction.Because.AUDIT:
        compare_rounds.check_answered_draw(sample.project)
    differs = _difference(answer["id"]) if answer["because"] == Correction.Because.SECOND else ""
    return sample, differs


def _difference(answer_id: Any) -> str:
    """What to say where a second answer, given blind, is not the first one."""
    second = Correction.objects.select_related("label", "replaced_label").get(answer_id=answer_id)
    if second.label_id == second.replaced_label_id or not second.label or not second.replaced_label:
        return ""
    before = corrections.correction_before(second)
    who = before.user.get_username() if before and before.user else _("Someone")
    return _(
        "%(who)s chose “%(first)s” before you; your choice, “%(second)s”, applies now. Change it, or go on."
    ) % {
        "who": who,
        "first": second.replaced_label.name,
        "second": second.label.name,
    }


def leave_row_unclear(sample: Sample, *, user: User) -> None:
    """Write down that a row is unclear, and pass it over."""
    marks.mark_row(sample, user=user, unclear=True)
    queue.skip_row(sample, user=user)


def undo_last_answer(project: Project, wanted: Mapping[str, Any], *, user: User) -> tuple[Sample, str]:
    """Take back the answer that a valid form names. Returns its row, which the person holds again, and why it was shown.

    Raises:
        AnnotationError: there is none, or somebody changed the row meanwhile.
    """
    sample = corrections.undo_answer(project, user=user, answer_id=wanted["undo_id"], of=wanted["of"])
    if sample is None:
        raise AnnotationError("You have no answer to undo.")
    undone = Correction.objects.only("because").get(answer_id=wanted["undo_id"])
    queue.hold_row(sample, user=user, because=undone.because)
    return sample, undone.because
