"""A stage that asks the LLM: what it works on, what it may spend, and what its stage is told of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Generic, TypeVar

from django.conf import settings

from annotation.errors import PausedError
from annotation.jobs.details import LabelingDetail, ModelDetail
from annotation.jobs.lease import Lease
from annotation.jobs.progress import Progress
from annotation.jobs.work import Job
from annotation.models import ConnectionSettings, Iteration, Project, Stage
from annotation.models.secret import readable
from annotation.pipeline.label.answer_cache import RememberingModel
from annotation.pipeline.label.shared_budget import SharedBudget
from annotation.pipeline.project import connection
from annotation.pipeline.project.goal import limits_of
from mlcore.config import LlmConfig
from mlcore.errors import BudgetSpentError, ModelCallError
from mlcore.llm import LanguageModel
from mlcore.llm.budget import Budget, Usage
from mlcore.llm.cost import Prices
from mlcore.records import Answer

# Seconds; a run that met only failures waits twice as long each time.
FIRST_BREAK, LONGEST_BREAK = 60.0, 1_800.0
CALLS_SECONDS = 1.0
M = TypeVar("M", bound=ModelDetail)

OpenModel = Callable[..., LanguageModel]  # mlcore.llm.open_model, named by the step that tests give another


@dataclass(kw_only=True)
class ModelRun(Generic[M]):
    """A stage at work and the model that it asks.

    Attributes:
        connected: where the model's settings, secrets and what was found out of it are stored.
        budget: what the run may spend, and what it has spent over all attempts.
        cached: answers that came from the cache, over all attempts.
    """

    lease: Lease
    progress: Progress[M]
    project: Project
    connected: ConnectionSettings
    config: LlmConfig
    model: RememberingModel
    budget: Budget
    cached: int = field(init=False)
    _steps: int = 0
    _next_look: float = 0.0

    def __post_init__(self) -> None:
        self.cached = self.progress.detail.cached
        self._report(
            **asdict(self.budget.prices),
            budget_tokens=self.budget.tokens,
            budget_money=self.budget.money,
        )

    def should_stop(self) -> bool:
        """Whether to stop. Called often, also while no answer comes, so it reports the state of the calls too."""
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + CALLS_SECONDS
            calls = self._calls()
            if calls != self.progress.detail.calls:
                self.progress.report(detail=replace(self.progress.detail, calls=calls))
        return self.lease.should_stop()

    def begin_phase(self, phase: str, *, steps: int) -> None:
        """Enter a phase before the rows' own, with progress of its own."""
        self._steps = 0
        detail = replace(self.progress.detail, phase_done=0, phase_total=steps)
        self.progress.report(phase=phase, detail=detail, force=True)

    def count_in_phase(self, batch: Sequence[Answer]) -> None:
        self.count(batch)
        self.report_steps(self._steps + len(batch))

    def report_steps(self, steps: int) -> None:
        """Say how far the phase is."""
        self._steps = steps
        self.progress.report(detail=replace(self.progress.detail, phase_done=steps))

    def count(self, batch: Sequence[Answer]) -> None:
        """Add what these answers cost. Call it in the transaction that stores them, so that none is counted twice."""
        self.cached += sum(answer.cached for answer in batch)
        if (
            self.model.rate_limiter is None
        ):  # otherwise the budget knows better: failed calls and second tries count too
            for answer in batch:
                if not answer.cached:
                    self.budget.spent.add(Usage(answer.tokens_in, answer.tokens_out))
        self._report_spent(cached=self.cached)

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Turn what makes going on pointless for now into a pause with a sentence.

        A budget that is spent waits for a person. After a row of failed calls the run is tried again by itself: after a
        minute, and after twice as long each time that no call was answered, half an hour at most.
        """
        try:
            yield
        except BudgetSpentError as error:
            raise PausedError(error.message) from error
        except ModelCallError as error:
            answered = self.model.rate_limiter is not None and self.model.rate_limiter.answers > 0
            breaks = 0 if answered else self.progress.detail.breaks
            self._report(breaks=breaks + 1)
            raise PausedError(error.message, retry_in=min(FIRST_BREAK * 2**breaks, LONGEST_BREAK)) from error
        finally:
            self._report_spent(calls=self._calls())
            connection.remember(self.connected, self.config, self.model.capabilities)

    def _report_spent(self, **changes: Any) -> None:
        spent = self.budget.spent
        detail = replace(
            self.progress.detail,
            assumed=self.budget.assumed,
            thoughts=spent.thoughts,
            cached_tokens=spent.cached,
            batch_tokens=[spent.batch_in, spent.batch_cached, spent.batch_out],
            **changes,
        )
        self.progress.report(
            tokens_in=spent.tokens_in, tokens_out=spent.tokens_out, detail=detail, force=True
        )

    def _report(self, **changes: Any) -> None:
        self.progress.report(detail=replace(self.progress.detail, **changes), force=True)

    def _calls(self) -> dict[str, Any]:
        """How the calls go: how many at once, failures by kind, and when the server allows the next one."""
        limiter = self.model.rate_limiter
        if limiter is None:
            return {}
        found: dict[str, Any] = {
            "at_once": limiter.limit,
            "most": limiter.most,
            "failures": dict(limiter.failures),
        }
        return found | ({"next_at": round(time.time() + limiter.pause)} if limiter.pause > 1 else {})


@dataclass(kw_only=True)
class LabelingRun(ModelRun[LabelingDetail]):
    """The LLM stage of a round at work. ``prompt_like``: keys of the rows asked about that look like prompts."""

    iteration: Iteration
    prompt_like: set[int] = field(default_factory=set)


R = TypeVar("R", bound=LabelingRun)


def open_run(job: Job[Any], iteration: Iteration, open_model: OpenModel, *, run_type: type[R]) -> R:
    """Open a round's model, with the settings that the round froze.

    Raises:
        ModelUnavailableError: the model can't be opened.
    """
    config = LlmConfig.from_dict(iteration.llm_settings)
    run = open_model_of(job, iteration.project, config, open_model, connected=iteration.connected)
    return run_type(
        lease=run.lease,
        progress=run.progress,
        project=run.project,
        connected=run.connected,
        config=run.config,
        model=run.model,
        budget=run.budget,
        iteration=iteration,
    )


def open_model_of(
    job: Job[M],
    project: Project,
    config: LlmConfig,
    open_model: OpenModel,
    *,
    connected: ConnectionSettings | None = None,
) -> ModelRun[M]:
    """Open a model, the project's own if no other is named, under its budget of today: raising it is how a run goes on.

    Raises:
        ModelUnavailableError: the model can't be opened.
        AnnotationError: the project's token can't be decrypted.
    """
    connected = connected or project
    budget = budget_of(connected, job.stage)
    known = connection.known_of(connected, config)
    model = open_connected(connected, config, open_model, known=known, budget=budget)
    remembering = RememberingModel(model, owner_id=project.owner_id)
    return ModelRun(
        lease=job.lease,
        progress=job.progress,
        project=project,
        connected=connected,
        config=config,
        model=remembering,
        budget=budget,
    )


def open_connected(
    connected: ConnectionSettings, config: LlmConfig, open_model: OpenModel, **more: Any
) -> LanguageModel:
    """Open a connection's model.

    Raises:
        ModelUnavailableError: the model can't be opened.
        AnnotationError: the token or the headers can't be decrypted.
    """
    return open_model(
        config,
        token=readable(connected.llm_token),
        allowed_hosts=connection.allowed_hosts(),
        weights_dir=settings.MODEL_DIR,
        cache_dir=settings.CACHE_DIR,
        headers=connection.headers_of(connected),
        **more,
    )


def budget_of(connected: ConnectionSettings, stage: Stage) -> Budget:
    """A connection's limits and prices, with what the stage has spent already."""
    config, detail = connected.llm_config, ModelDetail.of(stage)
    tokens, money = limits_of(stage.parent or stage, config)
    budget = Budget(
        tokens=tokens,
        money=money,
        prices=Prices(config.price_in, config.price_out, config.price_cached, config.batch_share),
        spent=detail.usage(stage.tokens_in, stage.tokens_out),
        assumed=detail.assumed,
    )
    if stage.parent and budget.is_limited:
        budget.tokens, budget.money = min(tokens, 1), min(money, 1e-9)  # nothing yet; 0 would be no limit
        budget.ask_for = SharedBudget(stage, tokens, money, budget).ask_for
    return budget
