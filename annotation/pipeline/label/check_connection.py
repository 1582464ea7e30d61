"""Test a connection: ask about one row, find out what the server takes, and keep what came with the connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

from django.utils import timezone

from annotation.jobs.connection_result import ConnectionTest
from annotation.jobs.details import ConnectionTestDetail
from annotation.jobs.work import Job
from annotation.models import ConnectionSettings
from annotation.pipeline.engine_rows import as_row
from annotation.pipeline.label.session import budget_of, open_connected
from annotation.pipeline.project import connection
from mlcore.config import LlmConfig
from mlcore.errors import EngineError, ModelCallError, ModelUnavailableError, StoppedError
from mlcore.label.annotate import make_requests
from mlcore.llm import LanguageModel, open_model
from mlcore.llm.budget import Budget, Usage
from mlcore.llm.endpoint.client import EndpointModel
from mlcore.records import NO_LABEL, Answer, LabelSet, Request, Row

MOST_ASKED = 10  # a dialect has at most 6 parameters and 5 ways of thinking to try after its first answer
TRIED_ROWS = 3  # of which some may be refused by a content filter
SAMPLE_TEXT = "The delivery was quick, and the coat fits well."
SAMPLE_LABELS = LabelSet.of("positive", "negative")
SHOWN_CHARACTERS = 600
OF_A_ROW = {"content_filtered", "model_refused", "http_413"}  # errors after which the next row is asked


def run_connection_test(job: Job[ConnectionTestDetail]) -> None:
    """Ask until the server has answered and it is known what it takes. A failure is kept too, and fails the stage.

    Raises:
        ModelUnavailableError, ModelCallError, BudgetSpentError: the model gives no answer; the sentence says why.
        StoppedError: a person asked to pause or cancel.
    """
    connected = _connected(job)
    config, budget = connected.llm_config, budget_of(connected, job.stage)
    found: dict[str, Any] = {"of": connection.identity_of(config), "at": timezone.now().isoformat()}
    job.progress.report(phase="asking", total=1, done=0, force=True)
    try:
        model = open_connected(connected, config, open_model, budget=budget)
        try:
            _test(model, config, job, found, budget)
        finally:
            model.close()
    except StoppedError:
        raise
    except EngineError as error:
        found["error"] = error.message.as_json()
        raise
    else:
        connection.remember(connected, config, model.capabilities)
    finally:
        _keep(connected, found, budget)
    job.progress.report(
        done=1, tokens_in=budget.spent.tokens_in, tokens_out=budget.spent.tokens_out, force=True
    )


def _connected(job: Job[ConnectionTestDetail]) -> ConnectionSettings:
    project, number = job.stage.project, job.progress.detail.connection
    return project.connections.get(pk=number) if number else project


def _keep(connected: ConnectionSettings, found: dict[str, Any], budget: Budget) -> None:
    spent = budget.spent
    tested = ConnectionTest(**found, all_tokens=spent.tokens_in + spent.tokens_out, thoughts=spent.thoughts)
    connected.llm_test = tested.to_json()
    connected.save(update_fields=["llm_test"])


def _test(
    model: LanguageModel,
    config: LlmConfig,
    job: Job[ConnectionTestDetail],
    found: dict[str, Any],
    budget: Budget,
) -> None:
    """Ask, and note in ``found`` what came, so that a failure leaves what was found before."""
    project = job.stage.project
    if isinstance(model, EndpointModel):
        found["models"] = model.model_names()
        if not config.model:
            raise ModelUnavailableError("model_needed")
    labels = project.label_set()
    samples = project.samples.order_by("position")[:TRIED_ROWS] if len(labels) > 1 else []
    rows = [as_row(sample, project) for sample in samples]
    if not rows:
        rows, labels = [Row(0, SAMPLE_TEXT, {"text": SAMPLE_TEXT})], SAMPLE_LABELS
    requests = make_requests(
        rows,
        task=project.task,
        template=replace(project.prompt, characters=config.characters),
        labels=labels,
        demonstrations=[],
    )
    shown = {row.key: project.task.show(row)[:SHOWN_CHARACTERS] for row in rows}
    for answer in _answers(model, requests, labels, job):
        if answer.error:
            told = {"row": shown[answer.key], "error": answer.error.as_json()}
            found["refused"] = [*found.get("refused", []), told]
            continue
        found |= {
            "row": shown[answer.key],
            "label": "" if answer.label == NO_LABEL else labels.names[answer.label],
            "raw": answer.raw[:SHOWN_CHARACTERS],
            "confidence": None if answer.probs is None else round(float(answer.probs.max()), 4),
            "stated": answer.stated,
            "tokens_in": answer.tokens_in,
            "tokens_out": answer.tokens_out,
            "seconds": round(answer.seconds, 2),
            "cost": budget.cost(Usage(answer.tokens_in, answer.tokens_out)),
        }
    limiter = model.rate_limiter
    found["calls"] = limiter.answers + sum(limiter.failures.values()) if limiter else 1
    found["capabilities"] = model.capabilities.as_dict() if model.capabilities else {}


def _answers(
    model: LanguageModel, requests: Sequence[Request], labels: LabelSet, job: Job[ConnectionTestDetail]
) -> Iterator[Answer]:
    """Answers to one row until it is settled what the server takes, and refusals of the rows before it."""
    refused = set[int]()
    for request in islice(cycle(requests), MOST_ASKED):
        if request.key in refused:
            continue
        answer = next(iter(model.ask([request], labels, should_stop=job.lease.should_stop)), None)
        if answer is None:
            raise StoppedError
        code = answer.error and answer.error.params.get("sentence", answer.error).code
        if answer.error and code not in OF_A_ROW:
            raise ModelCallError(answer.error)
        yield answer
        if answer.error:
            refused.add(request.key)
        elif model.capabilities or model.rate_limiter is None:
            return
