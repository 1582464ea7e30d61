"""What must be there before a round or a try-out can start."""

from __future__ import annotations

from annotation.errors import AnnotationError, BusyError, NotReadyError
from annotation.jobs import kinds
from annotation.models import ConnectionSettings, Iteration, Prediction, Project, Stage
from annotation.models.secret import readable
from annotation.pipeline.ingest.discard_import import check_no_leftovers
from annotation.pipeline.project.connection import allowed_hosts
from mlcore.errors import MessageError

MIN_ROWS = 10


def check_ready(project: Project, *, started_from: str, connected: ConnectionSettings | None = None) -> None:
    """Raise the first thing that keeps a round from starting, as a sentence with what to do; ``connected`` is the LLM that
    it asks, if not the project's own."""
    if started_from not in Iteration.Start.values:
        raise AnnotationError("A round starts from “llm” or “slm”, not from “%(start)s”.", start=started_from)
    check_idle(project)
    _check_complete(project)
    if started_from == Iteration.Start.SLM:
        check_labelled(project)
    else:
        _check_llm(connected or project)


def check_rows_and_labels(project: Project) -> None:
    """Raise what keeps labels that exist from being taken."""
    check_idle(project)
    _check_complete(project)


def check_trial_ready(project: Project) -> None:
    """The same for a try-out. A run that is paused is no obstacle: trying a few rows tells whether changed settings help."""
    if not project.stages.filter(kind=kinds.LLM.key, status=Stage.Status.PAUSED).exists():
        check_idle(project)
    _check_complete(project)
    _check_llm(project)


def missing_at(project: Project) -> tuple[str, str]:
    """The first step of the configuration at which something is missing, by its URL name, and the sentence on it; both are
    empty if nothing is."""
    checks = {"data": _check_rows, "labels": _check_labels, "models": _check_llm}
    for step, check in checks.items():
        try:
            check(project)
        except MessageError as error:
            return f"configure_{step}", str(error)
    return "", ""


def _check_complete(project: Project) -> None:
    """Whether there is all that a run works on."""
    _check_rows(project)
    _check_labels(project)


def _check_rows(project: Project) -> None:
    check_no_leftovers(project)
    rows = project.samples.count()
    if rows == 0:
        raise NotReadyError("The project has no rows yet. Upload a file first.")
    if rows < MIN_ROWS:
        raise NotReadyError(
            "The corpus has %(rows)s rows; the SLM needs at least %(least)s to learn from. Add more rows.",
            rows=rows,
            least=MIN_ROWS,
        )


def _check_labels(project: Project) -> None:
    labels = project.labels.count()
    if labels < 2:
        raise NotReadyError(
            "The project has %(count)s labels; set at least 2 to choose between.", count=labels
        )


def _check_llm(connected: ConnectionSettings) -> None:
    check_connection(connected)
    if not connected.llm_config.model:
        raise NotReadyError("The LLM's name is missing. Enter it under Models.")


def check_connection(connected: ConnectionSettings) -> None:
    """What can be told of a connection before the server is asked."""
    from mlcore.llm.endpoint.guard import check_address  # loads the hub's HTTP client, which few pages need

    config = connected.llm_config
    if config.kind == "hub" and not readable(connected.llm_token):
        raise NotReadyError("The Hugging Face Inference API needs a token. Enter one under Models.")
    if config.kind == "endpoint":
        check_address(config.base_url, allowed_hosts())


def check_idle(project: Project, *, of_any_kind: bool = False) -> None:
    """Raise BusyError if a stage that changes the rows or their labels, or one of any kind, is active."""
    blocking = kinds.keys(
        lambda kind: not kind.is_aside and (of_any_kind or kind.exclusive_group == kinds.CORPUS)
    )
    active = project.stages.active().filter(kind__in=blocking).first()
    if active:
        raise BusyError(
            "%(stage)s of this project is %(status)s. Wait until it is done, or cancel it first.",
            stage=kinds.kind_name(active),
            status=active.get_status_display(),
        )


def check_labelled(project: Project) -> None:
    if not Prediction.objects.filter(
        iteration__project=project, source=Prediction.ModelKind.LLM, label__isnull=False
    ).exists():
        raise NotReadyError(
            "No row has an LLM label yet. Start LLM labeling; if it has already run, try another prompt or model on 20 rows first."
        )
