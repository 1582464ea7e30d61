"""The rows of an LLM stage in parts, see :mod:`annotation.jobs.parts`; a part that is done again asks for the rows that it lacks.

What all parts share lies in the database: the budget (:mod:`annotation.pipeline.label.shared_budget`), and the calls at once
to a server, which the parts at work divide among themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from annotation.errors import AnnotationError, PausedError
from annotation.jobs import kinds, state
from annotation.jobs.details import LabelingDetail, PartDetail
from annotation.jobs.notify import notify_pages
from annotation.jobs.parts import do_parts, drop_parts, wake_another
from annotation.jobs.work import Job
from annotation.models import Iteration, Stage
from annotation.pipeline.engine_rows import demonstration_from_dict
from annotation.pipeline.label.answer_cache import ModelAround
from annotation.pipeline.label.label_rows import RowLabeler
from annotation.pipeline.label.session import LabelingRun, open_run
from annotation.pipeline.label.unanswered import unanswered_ranges, unanswered_samples
from mlcore.llm import LanguageModel, open_model
from mlcore.messages import Message
from mlcore.records import Answer, LabelSet, Request

# Of a model on this machine, some 30 s on two cores. Of a server, where a part begins with one call and ends with its slowest, some
# 1.5 s at 0.5 s a call: with 1,000 rows 0.84 of 64 slots were in use (tests.bench.llm_throughput).
LOCAL_PART_ROWS, SERVER_PART_ROWS = 1_000, 5_000
TELL_SECONDS = 1.0
SUMS = ("cached", "assumed", "unreadable", "prompt_rows", "thoughts", "cached_tokens")

#: Models on this machine that this process has loaded, by the stage that its parts belong to: too large to be loaded twice.
_loaded: dict[int, LanguageModel] = {}


def has_parts(stage: Stage) -> bool:
    return stage.parts.exists()


def part_rows(model: LanguageModel) -> int:
    """How many rows a part has at most."""
    return LOCAL_PART_ROWS if model.rate_limiter is None else SERVER_PART_ROWS


def label_in_parts(run: LabelingRun, labeler: RowLabeler) -> None:
    """Have all rows without an answer labelled, by this worker and whoever else is free.

    Raises:
        StoppedError: a person asked to pause or cancel, or it is another owner's turn.
        PausedError, AnnotationError: what a part stopped with; the others are stopped, too.
    """
    stage = run.lease.stage
    if not has_parts(stage):
        _cut(run, labeler)
    if run.model.rate_limiter is None:
        _loaded[stage.pk] = run.model.inner
    try:
        do_parts(run.lease, partial(_end, run))
    finally:
        _loaded.pop(stage.pk, None)
        _take_over(run)
    with transaction.atomic():
        drop_parts(run.lease)
        run.progress.report(detail=replace(run.progress.detail, own={}), force=True)


def run_part(job: Job[PartDetail]) -> None:
    """Label the rows of a part.

    Raises:
        ModelUnavailableError, PausedError, StoppedError: as in labeling.
    """
    assert job.stage.parent
    iteration = Iteration.objects.select_related("project").get(stages=job.stage.parent)
    detail = job.progress.detail
    loaded = _loaded.get(job.stage.parent.pk)
    run = open_run(job, iteration, open_model if loaded is None else _lend(loaded), run_type=_PartRun)
    labeler = RowLabeler(
        run=run,
        demonstrations=[demonstration_from_dict(item) for item in iteration.demonstrations],
        target=None if detail.target is None else np.array(detail.target),
        done=job.stage.done,
    )
    try:
        with run.pausing():
            labeler.label(unanswered_samples(iteration, after=detail.after, last=detail.last))
    finally:
        run.model.close()
    job.progress.report(done=labeler.done, force=True)
    tell_whole(job.stage.parent.pk)


def _lend(model: LanguageModel) -> Callable[..., LanguageModel]:
    return lambda *_args, **_settings: _Lent(model)


class _Lent(ModelAround):
    """A model that the whole has loaded and will close."""

    def ask(
        self, requests: Sequence[Request], labels: LabelSet, *, should_stop: Callable[[], bool]
    ) -> Iterator[Answer]:
        return self.inner.ask(requests, labels, should_stop=should_stop)

    def close(self) -> None:
        """It stays open."""


@dataclass(kw_only=True)
class _PartRun(LabelingRun):
    """A part at work: it tells how far the whole is, and shares the calls at once with the other parts."""

    _next_tell: float = 0.0
    _next_wake: float = 0.0

    def count(self, batch: Sequence[Any]) -> None:
        super().count(batch)
        if time.monotonic() >= self._next_tell:
            began = time.monotonic()
            tell_whole(self.lease.stage.parent_id or 0)
            # Thousands of parts take a while to add up.
            self._next_tell = time.monotonic() + TELL_SECONDS + 20 * (time.monotonic() - began)

    def should_stop(self) -> bool:
        if time.monotonic() >= self._next_wake:
            self._next_wake = time.monotonic() + TELL_SECONDS
            self._share_calls()
            wake_another(self.lease.stage)
        return super().should_stop()

    def _share_calls(self) -> None:
        limiter = self.model.rate_limiter
        if limiter is not None:
            at_work = Stage.objects.filter(parent=self.lease.stage.parent_id, status=Stage.Status.RUNNING)
            share = max(1, self.config.concurrency // max(1, at_work.count()))
            limiter.restrict(min(share, settings.LLM_CALLS or share))


def _cut(run: LabelingRun, labeler: RowLabeler) -> None:
    stage, detail = run.lease.stage, run.progress.detail
    own = {name: getattr(detail, name) for name in SUMS}
    own |= {"done": labeler.done, "tokens_in": stage.tokens_in, "tokens_out": stage.tokens_out}
    target = None if labeler.target is None else labeler.target.tolist()
    parts = [
        (rows, PartDetail(after=after, last=last, target=target))
        for after, last, rows in _together(unanswered_ranges(run.iteration), part_rows(run.model))
    ]
    with transaction.atomic():
        run.lease.fence()
        state.create_parts(stage, kinds.LLM_PART, parts)
        run.progress.report(detail=replace(detail, own=own), force=True)


def _together(ranges: Iterable[tuple[int, int, int]], most: int) -> Iterator[tuple[int, int, int]]:
    """Ranges that follow each other as one, up to so many rows; a larger one stays alone."""
    begun: tuple[int, int, int] | None = None
    for after, last, rows in ranges:
        if begun and begun[2] + rows <= most:
            begun = (begun[0], last, begun[2] + rows)
            continue
        if begun:
            yield begun
        begun = (after, last, rows)
    if begun:
        yield begun


def _totals(stage: Stage) -> tuple[LabelingDetail, dict[str, int]]:
    """The stage's detail and its figures with those of all parts."""
    detail = LabelingDetail.of(stage)
    figures = dict(detail.own)
    calls: dict[str, Any] = {"at_once": 0, "most": 0, "failures": {}}
    for part in Stage.objects.filter(parent=stage).only(
        "status", "done", "tokens_in", "tokens_out", "detail"
    ):
        of_part = PartDetail.of(part)
        for name in SUMS:
            figures[name] += getattr(of_part, name)
        for name in ("done", "tokens_in", "tokens_out"):
            figures[name] += getattr(part, name)
        for kind, count in of_part.calls.get("failures", {}).items():
            calls["failures"][kind] = calls["failures"].get(kind, 0) + count
        if part.status == Stage.Status.RUNNING:
            calls["at_once"] += of_part.calls.get("at_once", 0)
            calls["most"] += of_part.calls.get("most", 0)
            if "next_at" in of_part.calls:
                calls["next_at"] = of_part.calls["next_at"]
    sums = {name: figures.pop(name) for name in SUMS}
    return replace(detail, **sums, calls=calls), figures


def tell_whole(stage_id: int) -> None:
    """Write what all parts of a stage have done to its row."""
    stage = Stage.objects.filter(pk=stage_id, status=Stage.Status.RUNNING).first()
    if stage is None:
        return
    detail, figures = _totals(stage)
    Stage.objects.filter(pk=stage.pk, status=Stage.Status.RUNNING).update(
        **figures, detail=detail.to_json(), updated_at=Now()
    )
    notify_pages(stage)


def _take_over(run: LabelingRun) -> None:
    """Count what the parts have done as what this run has done."""
    stage = run.lease.stage
    stage.refresh_from_db(fields=["detail"])
    detail, figures = _totals(stage)
    run.cached, run.budget.assumed = detail.cached, detail.assumed
    run.budget.spent = detail.usage(figures["tokens_in"], figures["tokens_out"])
    run.progress.report(
        done=figures["done"],
        tokens_in=figures["tokens_in"],
        tokens_out=figures["tokens_out"],
        detail=detail,
        force=True,
    )


def _end(run: LabelingRun, part: Stage) -> None:
    """End the stage as a part of it ended."""
    found = Message.of(part.error)
    if part.status == Stage.Status.FAILED:
        raise AnnotationError(found)
    if part.resume_at is not None:
        raise PausedError(found, retry_in=max(0.0, (part.resume_at - timezone.now()).total_seconds()))
    if found.code in ("tokens_spent", "money_spent"):  # it knows its share only
        _take_over(run)
        found = run.budget.spent_message(found.params["next"], tokens=found.code == "tokens_spent")
    raise PausedError(found)
