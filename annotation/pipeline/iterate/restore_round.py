"""Go back to an earlier round's labels, or forward again: the same step, and each time an event on record."""

from __future__ import annotations

from collections.abc import Sequence

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from annotation.errors import NotReadyError
from annotation.jobs import kinds, state
from annotation.jobs.details import RestoreDetail
from annotation.jobs.work import Job
from annotation.models import Activity, Correction, Iteration, Prediction, Sample, Stage
from annotation.models.sample import LlmLabel
from annotation.models.sql import parts_by_key
from annotation.pipeline.project.readiness import check_idle
from mlcore.errors import StoppedError

WRITE_ROWS = 1_000


def start_restore(iteration: Iteration, *, user: User | None) -> Stage:
    """Set every row that no person has decided to what this round's models said, in the background.

    Later rounds are marked as withdrawn and stay on record; going to one of them later takes the mark away again.

    Raises:
        NotReadyError: the round was not judged by a small model to its end.
        BusyError: a stage is at work.
    """
    project = iteration.project
    check_idle(project)
    slm = iteration.stage(kinds.SLM.key)
    if slm is None or slm.status != Stage.Status.DONE:
        raise NotReadyError(
            "Round %(number)s has no finished SLM filtering, so you can't roll back to it.",
            number=iteration.number,
        )
    return state.create_stage(
        project,
        kinds.RESTORE,
        total=project.samples.count(),
        user=user,
        detail=RestoreDetail(round=iteration.number),
    )


def run_restore(job: Job[RestoreDetail]) -> None:
    """Write the round's verdicts back, part by part; rows that a person decided keep their label whenever that was.

    Repeatable: a killed run does all of it again.

    Raises:
        StoppedError: a person asked to cancel; rows carry the number of the round that they show.
    """
    iteration = job.stage.project.iterations.get(number=job.progress.detail.round)
    last_before = Correction.objects.order_by("pk").values_list("pk", flat=True).last() or 0
    done = _write_back(job, iteration, _verdicts(iteration))
    with transaction.atomic():
        job.lease.fence()
        mark_round_in_use(iteration, job.stage.requested_by)
    # Rows that people gave back to the models meanwhile took the round that was in force until now.
    meanwhile = Correction.objects.filter(sample__project=iteration.project, pk__gt=last_before)
    given_back = meanwhile.filter(Q(label=None) | Q(undoes__isnull=False)).order_by()
    _write_back(
        job, iteration, _verdicts(iteration).filter(sample__in=given_back.values("sample")), done=done
    )
    job.progress.report(done=done, total=done, force=True)


def _write_back(
    job: Job[RestoreDetail], iteration: Iteration, verdicts: QuerySet[Prediction], *, done: int = 0
) -> int:
    for predictions in parts_by_key(verdicts, "sample_id", WRITE_ROWS):
        if job.lease.should_stop():
            raise StoppedError
        llm = _llm_labels(iteration, [prediction.sample_id for prediction in predictions])
        with job.lease.piece():
            Sample.objects.write_verdicts(
                [
                    prediction.as_verdict(_label_id(llm.get(prediction.sample_id)))
                    for prediction in predictions
                ],
                round_number=iteration.number,
            )
            Sample.objects.write_llm_labels(list(llm.values()), round_number=iteration.number)
        done += len(predictions)
        job.progress.report(done=done)
    return done


def _verdicts(iteration: Iteration) -> QuerySet[Prediction]:
    rows = iteration.predictions.filter(source=Prediction.ModelKind.SLM, verdict__isnull=False)
    return rows.defer("raw", "x", "y", "calibrated")


def _llm_labels(iteration: Iteration, sample_ids: Sequence[int]) -> dict[int, LlmLabel]:
    """The newest readable LLM label of each row up to this round, without rounds that were withdrawn before it."""
    answers = Prediction.objects.filter(
        sample__in=sample_ids,
        source=Prediction.ModelKind.LLM,
        error="",
        iteration__number__lte=iteration.number,
    ).exclude(iteration__withdrawn_at__lt=iteration.created_at)
    return {
        sample_id: LlmLabel(sample_id, label_id, max(probs) if probs else None)
        for sample_id, label_id, probs in answers.order_by("iteration__number").values_list(
            "sample_id", "label_id", "calibrated"
        )
    }


def _label_id(llm: LlmLabel | None) -> int | None:
    return llm.label_id if llm else None


def mark_round_in_use(iteration: Iteration, user: User | None) -> None:
    rounds = Iteration.objects.filter(project=iteration.project)
    rounds.standing().filter(number__gt=iteration.number).update(withdrawn_at=timezone.now())
    rounds.filter(number=iteration.number).update(withdrawn_at=None)
    Activity.objects.create(
        project=iteration.project,
        user=user,
        verb=Activity.Verb.RESTORED,
        what=_("round %(number)d") % {"number": iteration.number},
    )
