"""Start rounds and try-outs: freeze what decides the outcome, make the stage, wake a worker."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from annotation.errors import AnnotationError, BusyError, NotReadyError
from annotation.jobs import state
from annotation.models import Iteration, Prediction, Project, Stage
from annotation.models.secret import readable
from annotation.pipeline.ingest import start_import

MIN_ROWS = 10
TRIAL_ROWS = 20
BUSY_KINDS = (Stage.Kind.IMPORT, Stage.Kind.LLM, Stage.Kind.SLM, Stage.Kind.RESTORE)  # one at a time


def start_round(
    project: Project, *, started_from: str, user: User | None, ask_all: bool = False
) -> Iteration:
    """Start the next round from the LLM (label again, with better demonstrations) or from the SLM (train again,
    on the same LLM labels and all corrections).

    Args:
        ask_all: ask the LLM about every row again; otherwise only about those at risk, the others keep their answer.

    Raises:
        NotReadyError: something that the round needs is missing; the sentence says what.
        BusyError: a stage is at work already.
    """
    check_ready(project, started_from=started_from)
    latest = project.latest_iteration()
    with state.alone(_("Another round of this project was started at the same moment; it is at work now.")):
        iteration = Iteration.objects.create(
            project=project,
            number=latest.number + 1 if latest else 1,
            started_from=started_from,
            ask_all=ask_all,
            demonstrations=[],
            seed=latest.number if latest else 0,
            created_by=user,
            **_frozen(project),
        )
        _make_stage(iteration, kind=started_from, user=user)
    return iteration


def start_trial(project: Project, *, user: User | None) -> Stage:
    """Queue a trial of the settings as they are now.

    Raises:
        NotReadyError, ModelUnavailableError: something that a run needs is missing; the sentence says what.
        BusyError: a stage or a trial is at work already.
    """
    check_trial_ready(project)
    total = min(TRIAL_ROWS, project.samples.count())
    with state.alone(
        _("A try-out is at work or paused already. Wait until it is done, resume it, or cancel it.")
    ):
        stage = Stage.objects.create(project=project, kind=Stage.Kind.TRIAL, requested_by=user, total=total)
        state.submit(stage)
    return stage


def decides_trial(project: Project) -> dict[str, Any]:
    """What decides a trial's answers, as it is now: with anything else they are of other settings."""
    frozen, model = _frozen(project), project.llm_config.as_dict()
    return {
        "model": [model[name] for name in ("kind", "model", "base_url", "provider")],
        "prompt": frozen["prompt"],
        "labels": frozen["labels"],
    }


def _frozen(project: Project) -> dict[str, Any]:
    """Copies of all that decides a round's outcome, as it is now."""
    return {
        "labels": [
            {"id": label.pk, "name": label.name, "description": label.description}
            for label in project.label_list()
        ],
        "prompt": {
            "description": project.prompt_description,
            "demonstration": project.prompt_demonstration,
            "output": project.prompt_output,
        },
        "llm_settings": project.llm_settings,
        "slm_settings": project.slm_settings,
    }


def resume(stage: Stage) -> None:
    """Go on with a paused, cancelled or failed stage.

    A round that has no answer yet takes the project's settings of today: whoever mends a wrong address or prompt means
    them for this round. With the first answer they are frozen, so that a round is never of two kinds.

    Raises:
        BusyError: another stage of the project is at work.
    """
    iteration = stage.iteration
    if iteration and stage.kind == Stage.Kind.LLM and stage.status != Stage.Status.RUNNING:
        with transaction.atomic():
            if not _own_answers(iteration).exists():
                _kept_answers(iteration).delete()
                frozen = _frozen(stage.project) | {"demonstrations": []}
                Iteration.objects.filter(pk=iteration.pk).update(**frozen)
                Stage.objects.filter(pk=stage.pk).exclude(status=Stage.Status.RUNNING).update(detail={})
    state.resume(stage)


def stopped_without_answers(iteration: Iteration) -> Stage | None:
    """The stage that takes the settings of today when it is resumed, see :func:`resume`; None where they are frozen."""
    stage = iteration.stage(Stage.Kind.LLM)
    if stage is None or stage.status not in state.RESUMABLE or _own_answers(iteration).exists():
        return None
    return stage


def _own_answers(iteration: Iteration) -> QuerySet[Prediction]:
    """What was answered in this round, not kept from an earlier one."""
    return iteration.predictions.exclude(pk__in=_kept_answers(iteration).values("pk"))


def _kept_answers(iteration: Iteration) -> QuerySet[Prediction]:
    return iteration.predictions.filter(origin=Prediction.Origin.EARLIER, source="llm")


def start_filtering(iteration: Iteration, *, user: User | None) -> Stage:
    """Start the SLM stage of a round whose LLM stage has ended.

    Raises:
        NotReadyError: the LLM has labelled nothing yet.
        BusyError: a stage is at work, or this round's filtering was started already.
    """
    check_idle(iteration.project)
    _check_labelled(iteration.project)
    with state.alone(_("The filtering of this round was started already.")):
        return _make_stage(iteration, kind=Stage.Kind.SLM, user=user)


def check_ready(project: Project, *, started_from: str) -> None:
    """Raise the first thing that keeps a round from starting, as a sentence with what to do."""
    if started_from not in Iteration.Start.values:
        raise AnnotationError(
            _("A round starts from “llm” or “slm”, not from “%(start)s”.") % {"start": started_from}
        )
    check_idle(project)
    _check_complete(project)
    if started_from == Iteration.Start.SLM:
        _check_labelled(project)
    else:
        _check_llm(project)


def check_trial_ready(project: Project) -> None:
    """The same for a try-out. A run that is paused is no obstacle: trying a few rows tells whether changed settings help."""
    if not project.stages.filter(kind=Stage.Kind.LLM, status=Stage.Status.PAUSED).exists():
        check_idle(project)
    _check_complete(project)
    _check_llm(project)


def _check_complete(project: Project) -> None:
    """Whether there is all that a run works on."""
    start_import.check_no_leftovers(project)
    rows = project.samples.count()
    if rows == 0:
        raise NotReadyError(_("The project has no rows yet. Upload a file first."))
    if rows < MIN_ROWS:
        raise NotReadyError(
            _(
                "The corpus has %(rows)d rows; a small model needs at least %(least)d to learn from. Add more rows."
            )
            % {"rows": rows, "least": MIN_ROWS}
        )
    labels = project.labels.count()
    if labels < 2:
        raise NotReadyError(
            _("The project has %(count)d labels; set at least 2 to choose between.") % {"count": labels}
        )


def _check_llm(project: Project) -> None:
    """What can be told of the LLM's settings before it is asked."""
    from mlcore.llm.endpoint.guard import check_address  # loads the hub's HTTP client, which few pages need

    config = project.llm_config
    if config.kind == "hub" and not readable(project.llm_token):
        raise NotReadyError(_("The Hugging Face Inference API needs a token. Enter one under Models."))
    if config.kind == "endpoint":
        check_address(config.base_url, settings.LLM_ALLOWED_HOSTS)


def check_idle(project: Project, *, kinds: Collection[str] = BUSY_KINDS) -> None:
    """Raise BusyError if a stage of these kinds is at work, waits or is paused; by default those that change the rows."""
    active = project.stages.active().filter(kind__in=kinds).first()
    if active:
        raise BusyError(
            _("%(stage)s of this project is %(status)s. Wait until it is done, or cancel it first.")
            % {"stage": active.get_kind_display(), "status": active.get_status_display()}
        )


def _check_labelled(project: Project) -> None:
    if not Prediction.objects.filter(
        iteration__project=project, source=Prediction.ModelKind.LLM, label__isnull=False
    ).exists():
        raise NotReadyError(
            _(
                "No row has a label of the LLM yet. Start LLM labeling; if it has run, try another prompt or model on 20 rows first."
            )
        )


def _make_stage(iteration: Iteration, *, kind: str, user: User | None) -> Stage:
    stage = Stage.objects.create(
        project=iteration.project,
        iteration=iteration,
        kind=kind,
        requested_by=user,
        total=iteration.project.samples.count(),
    )
    state.submit(stage)
    return stage
