"""People's corrections: append-only, never overwritten by a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from annotation.errors import AnnotationError, ConflictError
from annotation.jobs.notify import notify_project
from annotation.jobs.state import replan
from annotation.messages import message
from annotation.models import (
    Correction,
    CorrectionBatch,
    Label,
    Prediction,
    Project,
    RowClaim,
    RowMark,
    Sample,
    Source,
)
from annotation.models.sql import update_rows
from annotation.pipeline.distill.start_update import update_when_due
from annotation.pipeline.measure.draw_sample import open_draws

PLAN_PAUSE = timedelta(seconds=20)
STATE = (
    "label",
    "source",
    "risk",
    "corrected_by",
    "corrected_at",
    "batch",
    "machine_label",
    "version",
)


def correct_sample(
    sample_id: int,
    *,
    label_id: int | None,
    user: User,
    seen_version: int | None = None,
    because: str = Correction.Because.BROWSING,
    answer_id: UUID | None = None,
    seconds: float | None = None,
) -> Sample:
    """Record what a person says of a row, and make it the row's label at once.

    Args:
        label_id: the label, or None to withdraw the correction: the row returns to the models' label.
        seen_version: the row's version on the page that the person looked at; None skips the check.
        answer_id: made by the page; an answer that was recorded under it already is not recorded again.
        seconds: how long the person looked at the row.

    Raises:
        ConflictError: somebody changed the row after that page was made.
        AnnotationError: the label is not one of the project's.
    """
    with transaction.atomic():
        sample = _locked(sample_id)
        if answer_id and Correction.objects.filter(answer_id=answer_id).exists():
            return sample
        if seen_version is not None and sample.version != seen_version:
            raise _conflict(sample)
        label = _label_of(sample, label_id)
        correction = _record(sample, user, label, because=because, answer_id=answer_id, seconds=seconds)
        if label is None:
            _return_to_models(sample)
        else:
            _decide(sample, label, correction)
            _clear(sample)
        _save(sample)
        _tell_plan(sample, because)
    update_when_due(sample.project_id)
    return sample


def _tell_plan(sample: Sample, because: str) -> None:
    """Have the plan made anew: at once after the last drawn row's answer, else not more often than ``PLAN_PAUSE``."""
    is_drawn = because == Correction.Because.AUDIT
    pause = PLAN_PAUSE if not is_drawn or open_draws(sample.project).exists() else timedelta(0)
    replan(sample.project_id, unless_within=pause)
    if is_drawn:
        notify_project(sample.project_id)


def undo_answer(project: Project, *, user: User, answer_id: UUID, of: UUID | None = None) -> Sample | None:
    """Take back the person's newest answer in the focus view, or the one ``of``; both stay in the row's history.

    Repeated, it goes back step by step. Answers that somebody else has corrected since are passed over.

    Args:
        answer_id: made by the page; a request that was carried out under it already does nothing.

    Returns:
        The row as it is now; None if there is nothing to take back.
    """
    with transaction.atomic():
        repeated = Correction.objects.filter(answer_id=answer_id, user=user).first()
        if repeated:
            return _locked(repeated.sample_id)
        target = _undoable(project, user, of).first()
        if target is None:
            return None
        sample = _locked(target.sample_id)
        if target not in _undoable(project, user, of):  # it changed while we waited for the row
            raise _conflict(sample)
        take_back(sample, target, user=user, answer_id=answer_id)
        _tell_plan(sample, target.because)
    return sample


def take_back(sample: Sample, target: Correction, *, user: User | None, **more: Any) -> None:
    """Give a locked row what stood before a correction: another correction's label, or the models'."""
    before = correction_before(target)
    label = before.label if before else None
    _record(sample, user, label, because=target.because, undoes=target, **more)
    if before and label:
        _decide(sample, label, before)
    else:
        _return_to_models(sample)
    _save(sample)


def take_back_to_models(
    samples: Mapping[int, Sample], targets: Sequence[Correction], *, user: User | None, batch: CorrectionBatch
) -> None:
    """:func:`take_back` for many locked rows at once, on each of which the models' label stood before."""
    Correction.objects.bulk_create(
        Correction(
            sample_id=target.sample_id,
            user=user,
            replaced_label_id=samples[target.sample_id].label_id,
            replaced_source=samples[target.sample_id].source,
            round=samples[target.sample_id].round,
            because=target.because,
            undoes=target,
            batch=batch,
        )
        for target in targets
    )
    rows = [samples[target.sample_id] for target in targets]
    verdicts = _newest_verdicts([row.pk for row in rows])
    for row in rows:
        _set_to_models(row, verdicts.get(row.pk))
    states = [(row.label_id, row.source, row.risk, None, None, None, row.version + 1, row.pk) for row in rows]
    columns = ["label_id", "source", "risk", "corrected_by_id", "corrected_at", "batch_id", "version"]
    update_rows(Sample, columns, states)
    RowClaim.objects.filter(sample__in=[row.pk for row in rows]).delete()


def _undoable(project: Project, user: User, of: UUID | None) -> QuerySet[Correction]:
    overtaken = Correction.objects.filter(sample=OuterRef("sample"), pk__gt=OuterRef("pk")).filter(
        ~Q(user=user)
    )
    answers = Correction.objects.standing().filter(
        sample__project=project, user=user, answer_id__isnull=False
    )
    return (answers.filter(answer_id=of) if of else answers).filter(~Exists(overtaken)).order_by("-pk")


def correction_before(target: Correction) -> Correction | None:
    """The correction that stood on the row before this one; None if it was the models' label."""
    if target.replaced_source != Source.PERSON:
        return None
    return (
        Correction.objects.standing().filter(sample=target.sample, pk__lt=target.pk).order_by("-pk").first()
    )


def _locked(sample_id: int) -> Sample:
    rows = Sample.objects.select_for_update(of=("self",)).select_related("label", "corrected_by", "mark")
    return rows.get(pk=sample_id)


def _record(sample: Sample, user: User | None, label: Label | None, **more: Any) -> Correction:
    return Correction.objects.create(
        sample=sample,
        user=user,
        label=label,
        replaced_label=sample.label,
        replaced_source=sample.source,
        round=sample.round,
        **more,
    )


def _decide(sample: Sample, label: Label, correction: Correction) -> None:
    if sample.source != Source.PERSON:
        sample.machine_label_id = sample.label_id
    sample.label, sample.source, sample.risk = label, Source.PERSON, 0.0
    sample.corrected_by, sample.corrected_at = correction.user, correction.created_at
    sample.batch_id = correction.batch_id


def _clear(sample: Sample) -> None:
    """A row that has a label is not unclear any more."""
    mark: RowMark | None = getattr(sample, "mark", None)
    if mark and mark.unclear:
        mark.unclear = False
        mark.save(update_fields=["unclear"])


def _save(sample: Sample) -> None:
    """Store the row's new state; whoever holds the row in the queue lets it go."""
    sample.version += 1
    sample.save(update_fields=STATE)
    RowClaim.objects.filter(sample=sample).delete()


def _label_of(sample: Sample, label_id: int | None) -> Label | None:
    if label_id is None:
        return None
    label = Label.objects.filter(pk=label_id, project=sample.project_id).first()
    if label is None:
        raise AnnotationError("This label does not belong to the project. Reload the page and choose again.")
    return label


def _return_to_models(sample: Sample) -> None:
    """Undo a correction: take the newest verdict of the models, or nothing where there is none."""
    _set_to_models(sample, _newest_verdicts([sample.pk]).get(sample.pk))


def _newest_verdicts(sample_ids: Sequence[int]) -> dict[int, Prediction]:
    """The small model's newest prediction of each row, without rounds that were withdrawn."""
    predicted = Prediction.objects.filter(sample__in=sample_ids, source=Prediction.ModelKind.SLM)
    standing = predicted.filter(verdict__isnull=False, iteration__withdrawn_at__isnull=True)
    newest_last = standing.order_by("iteration__number").only("sample_id", "verdict_id", "risk")
    return {verdict.sample_id: verdict for verdict in newest_last}


def _set_to_models(sample: Sample, verdict: Prediction | None) -> None:
    sample.corrected_by = sample.corrected_at = sample.batch = None
    if verdict is not None:
        sample.label_id, sample.risk = verdict.verdict_id, verdict.risk
        sample.source = Source.LLM if verdict.verdict_id == sample.llm_label_id else Source.SLM
    else:
        sample.label_id, sample.risk = sample.llm_label_id, None
        sample.source = Source.LLM if sample.llm_label_id else Source.NONE


def _conflict(sample: Sample) -> ConflictError:
    return ConflictError(
        "%(who)s has set this row to “%(label)s” in the meantime. Look at it again and choose.",
        who=sample.corrected_by.get_username() if sample.corrected_by else message("Someone"),
        label=sample.label.name if sample.label else message("no label"),
    )
