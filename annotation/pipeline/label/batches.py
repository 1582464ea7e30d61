"""The rows asked by batches at a server: submitted in pieces, looked at now and then, read when they are done.

No worker waits. A stage whose batches are at work pauses, and the reaper has it looked at again. What was submitted is
stored before it leaves; a batch of which the answer to its submission was lost is known again by a key in its metadata.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from django.db.models import Max
from django.utils import timezone

from annotation.errors import PausedError
from annotation.models import Sample, Stage, SubmittedBatch
from annotation.models.secret import readable
from annotation.models.sql import among
from annotation.pipeline.engine_rows import as_row, round_labels
from annotation.pipeline.label.answer_cache import RememberingModel
from annotation.pipeline.label.unanswered import (
    READ_ROWS,
    count_unanswered,
    unanswered_samples,
    without_answer,
)
from annotation.pipeline.project import connection
from mlcore.config import LlmConfig
from mlcore.errors import StoppedError
from mlcore.llm.batch import BATCH_BYTES, BATCH_ROWS, BatchClient
from mlcore.llm.budget import Usage
from mlcore.records import Answer, LabelSet, Request, Row

if TYPE_CHECKING:
    from annotation.models import ConnectionSettings
    from annotation.pipeline.label.session import LabelingRun
    from mlcore.llm.budget import Budget
    from mlcore.llm.endpoint.rate_limit import RateLimiter

logger = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
MOST_BATCHES = 8  # at work at the same time
SWEEPS = 2  # how often a row is asked by a batch, where its call failed
FEW_ROWS = 100  # so few rows that are left are asked one by one

RequestsOf = Callable[[list[Row]], list[Request]]
Store = Callable[["LabelingRun", Iterable[Answer]], None]


@dataclass(kw_only=True)
class BatchRun:
    """A labeling run by batches.

    Attributes:
        requests_of: the questions on rows.
        store: stores answers as they come, with the run whose model gave them.
    """

    run: LabelingRun
    client: BatchClient
    requests_of: RequestsOf
    store: Store

    @property
    def batches(self) -> list[SubmittedBatch]:
        return list(SubmittedBatch.objects.filter(stage=self.run.lease.stage, collected_at=None))

    def waiting(self, keys: list[int]) -> list[Sample]:
        """Those of these rows that have no answer yet, in the corpus' order."""
        left = without_answer(self.run.iteration, keys)
        return list(Sample.objects.filter(pk__in=among(left)).order_by("position"))


def label_by_batches(run: LabelingRun, *, requests_of: RequestsOf, store: Store) -> bool:
    """Bring the batches of a run one step further.

    Returns:
        Whether rows are left that are few enough to be asked one by one.

    Raises:
        PausedError: batches are at work; the stage is to be looked at again.
        BudgetSpentError: what is left of the budget covers no row.
        ModelUnavailableError, ModelCallError: see :class:`mlcore.llm.batch.BatchClient`.
    """
    with open_client(run.connected, run.config) as client:
        batch_run = BatchRun(run=run, client=client, requests_of=requests_of, store=store)
        done = sum(_collect(batch_run, batch) for batch in batch_run.batches)
        while True:
            while len(batch_run.batches) < MOST_BATCHES and _submit_next(batch_run):
                pass
            if at_work := batch_run.batches:
                raise PausedError(
                    "%(count)s batches with %(rows)s rows are being processed by the server, which has answered %(done)s of them. "
                    "They are looked at every minute.",
                    count=len(at_work),
                    rows=sum(len(batch.rows) for batch in at_work),
                    done=done,
                    retry_in=LOOK_SECONDS,
                )
            left, sweep = count_unanswered(run.iteration), run.progress.detail.batch_sweep
            if not left or sweep >= SWEEPS or left <= FEW_ROWS:
                return bool(left) and sweep < SWEEPS
            run.progress.report(detail=replace(run.progress.detail, batch_sweep=sweep + 1), force=True)


def cancel_batches(stage: Stage) -> None:
    """Cancel the batches that a cancelled stage left at work; what they answered is read if the stage is resumed."""
    left = SubmittedBatch.objects.filter(stage=stage, collected_at=None).exclude(remote_id="")
    if not left or stage.iteration is None:
        return
    with open_client(stage.iteration.connected, LlmConfig.from_dict(stage.iteration.llm_settings)) as client:
        for batch in left:
            logger.info("Cancelling batch %s", batch.remote_id)
            client.cancel(batch.remote_id)


@contextmanager
def open_client(connected: ConnectionSettings, config: LlmConfig) -> Iterator[BatchClient]:
    client = BatchClient(
        config,
        token=readable(connected.llm_token),
        headers=connection.headers_of(connected),
        allowed_hosts=connection.allowed_hosts(),
        known=connection.known_of(connected, config),
    )
    try:
        yield client
    finally:
        client.close()


def _collect(batch_run: BatchRun, batch: SubmittedBatch) -> int:
    """Store the answers of a batch that is done; return how many rows the server has answered of one at work."""
    run, client = batch_run.run, batch_run.client
    if not batch.remote_id:  # the worker died while it was submitted
        batch.remote_id = client.find(str(batch.key)) or _send(batch_run, batch)
        batch.save(update_fields=["remote_id"])
    state = client.look(batch.remote_id)
    if not state.is_ended:
        run.budget.hold_on(Usage(*batch.most).by_batch())
        return state.done
    labels, _label_ids = round_labels(run.iteration)
    results = {answer.key: (answer, usage) for answer, usage in client.answers(state, labels)}
    piece = _Piece(run.model, run.budget, results)
    for start in range(0, len(batch.rows), READ_ROWS):
        answer_rows(batch_run, piece, batch_run.waiting(batch.rows[start : start + READ_ROWS]))
    with run.lease.piece():
        if state.status != "failed":
            batch.collected_at = timezone.now()
            batch.save(update_fields=["collected_at"])
            return 0
        batch.delete()  # its rows are asked again
    # Too many tokens may be waiting at the server: the other batches are waited for first.
    if not batch_run.batches:
        raise state.refusal()
    return 0


def _submit_next(batch_run: BatchRun) -> bool:
    """Submit the next rows of the sweep; False if none are left, or the budget waits for what is out."""
    run = batch_run.run
    sweep = run.progress.detail.batch_sweep
    last = SubmittedBatch.objects.filter(stage=run.lease.stage, sweep=sweep).aggregate(
        last=Max("last_position")
    )["last"]
    waiting = unanswered_samples(run.iteration, after=-1 if last is None else last)
    batch = SubmittedBatch(stage=run.lease.stage, sweep=sweep, rows=[], last_position=0, most=[0, 0])
    lines: list[bytes] = []
    for samples in waiting:
        piece = _Piece(run.model, run.budget, {})
        answer_rows(batch_run, piece, samples)
        taken = _reserve(batch_run, piece.missing)
        if taken < len(piece.missing):
            keys = {request.key for request in piece.missing[taken:]}
            samples = samples[: next(place for place, sample in enumerate(samples) if sample.pk in keys)]
        if samples:
            batch.rows += [sample.pk for sample in samples]
            batch.last_position = samples[-1].position
        labels, _label_ids = round_labels(run.iteration)
        for request in piece.missing[:taken]:
            lines.append(batch_run.client.line(request, labels))
            most = batch_run.client.most(request, labels)
            batch.most = [batch.most[0] + most.tokens_in, batch.most[1] + most.tokens_out]
        if taken < len(piece.missing):
            if not lines and not batch_run.batches:
                raise run.budget.spent_error(batch_run.client.most(piece.missing[taken], labels))
            break
        if len(lines) + READ_ROWS > BATCH_ROWS or sum(map(len, lines)) > BATCH_BYTES:
            break
    if not lines:
        return False
    with run.lease.piece():
        batch.save()
    batch.remote_id = batch_run.client.submit(lines, key=str(batch.key))
    batch.save(update_fields=["remote_id"])
    return True


def _reserve(batch_run: BatchRun, requests: Sequence[Request]) -> int:
    """Set aside what the requests can cost; return how many of them the budget covers."""
    labels, _label_ids = round_labels(batch_run.run.iteration)
    for count, request in enumerate(requests):
        if not batch_run.run.budget.reserve(batch_run.client.most(request, labels)):
            return count
    return len(requests)


def _send(batch_run: BatchRun, batch: SubmittedBatch) -> str:
    """Submit a stored batch whose submission never arrived."""
    labels, _label_ids = round_labels(batch_run.run.iteration)
    project, lines = batch_run.run.project, list[bytes]()
    for start in range(0, len(batch.rows), READ_ROWS):
        samples = batch_run.waiting(batch.rows[start : start + READ_ROWS])
        rows = [as_row(sample, project) for sample in samples]
        lines += [batch_run.client.line(request, labels) for request in batch_run.requests_of(rows)]
    return batch_run.client.submit(lines, key=str(batch.key))


def answer_rows(batch_run: BatchRun, piece: _Piece, samples: Sequence[Sample]) -> None:
    """Store what the cache, or the piece, answers of these rows; the piece keeps the other questions."""
    run = batch_run.run
    labels, _label_ids = round_labels(run.iteration)
    requests = batch_run.requests_of([as_row(sample, run.project) for sample in samples])
    remembering = RememberingModel(piece, owner_id=run.project.owner_id)
    answers = remembering.ask_parts([requests], labels, should_stop=run.should_stop)
    batch_run.store(replace(run, model=remembering), answers)
    if run.should_stop():
        raise StoppedError


@dataclass
class _Piece:
    """A model that answers from a batch's results, and keeps the questions that these hold no answer to."""

    model: RememberingModel
    budget: Budget
    results: dict[int, tuple[Answer, Usage]]
    missing: list[Request] = field(default_factory=list)
    capabilities: None = None

    @property
    def identity(self) -> str:
        return self.model.identity

    @property
    def rate_limiter(self) -> RateLimiter | None:
        return self.model.rate_limiter

    def ask(
        self, requests: Sequence[Request], labels: LabelSet, *, should_stop: Callable[[], bool]
    ) -> Iterator[Answer]:
        for request in requests:
            if request.key not in self.results:
                self.missing.append(request)
                continue
            answer, usage = self.results[request.key]
            self.budget.spent.add(usage)
            yield answer

    def close(self) -> None:
        pass
