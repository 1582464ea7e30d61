"""Start rounds and try-outs: freeze what decides the outcome, make the stage, wake a worker."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext_noop

from annotation.jobs import kinds, state
from annotation.models import Connection, Iteration, Prediction, Project, Stage
from annotation.pipeline.project.readiness import check_ready


def start_round(
    project: Project,
    *,
    started_from: str,
    user: User | None,
    ask_all: bool = False,
    connection: Connection | None = None,
) -> Iteration:
    """Start the next round from the LLM (label again, with better demonstrations) or from the SLM (train again,
    on the same LLM labels and all corrections).

    Args:
        ask_all: ask the LLM about every row again; otherwise only about those at risk, the others keep their answer.
        connection: a further LLM of the project to ask in place of its own.

    Raises:
        NotReadyError: something that the round needs is missing; the sentence says what.
        BusyError: a stage is at work already.
    """
    check_ready(project, started_from=started_from, connected=connection)
    latest = project.latest_iteration()
    busy = gettext_noop("Another round of this project was started at the same time and is running now.")
    with state.one_at_a_time(busy):
        iteration = Iteration.objects.create(
            project=project,
            number=latest.number + 1 if latest else 1,
            started_from=started_from,
            ask_all=ask_all,
            demonstrations=[],
            seed=latest.number if latest else 0,
            created_by=user,
            connection=connection,
            **project.round_settings(connection),
        )
        state.create_stage(
            project,
            kinds.KINDS[started_from],
            iteration=iteration,
            total=project.samples.count(),
            user=user,
            busy=busy,
        )
    return iteration


def resume(stage: Stage) -> None:
    """Go on with a paused, cancelled or failed stage.

    A round that has no answer yet takes the project's settings of today: whoever mends a wrong address or prompt means
    them for this round. With the first answer they are frozen, so that a round is never of two kinds.

    Raises:
        BusyError: another stage of the project is at work.
    """
    iteration = stage.iteration
    if iteration and stage.kind == kinds.LLM.key and stage.status != Stage.Status.RUNNING:
        with transaction.atomic():
            if not _own_answers(iteration).exists():
                _kept_answers(iteration).delete()
                stage.parts.all().delete()
                frozen = stage.project.round_settings(iteration.connection) | {"demonstrations": []}
                Iteration.objects.filter(pk=iteration.pk).update(**frozen)
                Stage.objects.filter(pk=stage.pk).exclude(status=Stage.Status.RUNNING).update(detail={})
    state.resume(stage)


def stopped_without_answers(iteration: Iteration) -> Stage | None:
    """The stage that takes the settings of today when it is resumed, see :func:`resume`; None where they are frozen."""
    stage = iteration.stage(kinds.LLM.key)
    if stage is None or stage.status not in state.RESUMABLE or _own_answers(iteration).exists():
        return None
    return stage


def _own_answers(iteration: Iteration) -> QuerySet[Prediction]:
    """What was answered in this round, not kept from an earlier one."""
    return iteration.predictions.exclude(origin=Prediction.Origin.EARLIER, source="llm")


def _kept_answers(iteration: Iteration) -> QuerySet[Prediction]:
    return iteration.predictions.filter(origin=Prediction.Origin.EARLIER, source="llm")
