"""Answers that were paid for once are kept, and the same question is never asked again.

A question is the same if the model and the way of asking (:attr:`mlcore.llm.LanguageModel.identity`), the label names,
and the rendered prompt are. Answers belong to the project's owner, so that they serve later rounds, further projects,
and a run that goes on after a crash.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from django.conf import settings
from django.db import connection
from django.utils import timezone

from annotation.models import CachedAnswer
from annotation.models.bulk import insert_rows
from mlcore.errors import EngineError
from mlcore.records import Answer, LabelSet, Request

if TYPE_CHECKING:
    from mlcore.llm import LanguageModel
    from mlcore.llm.pace import Pace

BATCH_ROWS = 100
BATCH_SECONDS = 0.5
LOOKUP_KEYS = 500
DIGITS = 6


class _ModelAround:
    """What a model that asks another one has from it."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    @property
    def identity(self) -> str:
        return self._model.identity

    @property
    def pace(self) -> Pace | None:
        return self._model.pace

    def close(self) -> None:
        self._model.close()


class RememberingModel(_ModelAround):
    """A language model that answers from the cache what its owner has asked before.

    Fresh answers are handed on as they come; whoever stores them calls :meth:`keep` in the same transaction. A row
    whose question another row of the same call asks too is answered with it.
    """

    def __init__(self, model: LanguageModel, *, owner_id: int) -> None:
        super().__init__(model)
        self._owner_id = owner_id
        self._fresh: dict[int, str] = {}  # request key -> question, for answers that are to be kept

    def ask(
        self, requests: Sequence[Request], labels: LabelSet, *, should_stop: Callable[[], bool]
    ) -> Iterator[Answer]:
        """See :class:`mlcore.llm.LanguageModel`. What is ``cached`` cost its tokens once, and nothing this time."""
        questions = question_keys(self.identity, labels, requests)
        known = self._look_up(questions.values())
        same: dict[str, list[Request]] = {}
        for request in requests:
            question = questions[request.key]
            if question in known:
                yield replace(known[question], key=request.key)
            else:
                same.setdefault(question, []).append(request)
        firsts = [group[0] for group in same.values()]
        for answer in self._model.ask(firsts, labels, should_stop=should_stop):
            question = questions[answer.key]
            if not answer.error:
                self._fresh[answer.key] = question
            yield answer
            for other in same[question][1:]:
                yield replace(answer, key=other.key, cached=not answer.error)

    def keep(self, answers: Iterable[Answer]) -> None:
        """Write the fresh ones among these answers into the cache."""
        now = connection.ops.adapt_datetimefield_value(timezone.now())
        insert_rows(
            CachedAnswer,
            ("owner_id", "key", "label", "probs", "raw", "tokens_in", "tokens_out", "created_at"),
            [
                (
                    self._owner_id,
                    self._fresh.pop(answer.key),
                    answer.label,
                    probs_text(answer.probs),
                    answer.raw,
                    answer.tokens_in,
                    answer.tokens_out,
                    now,
                )
                for answer in answers
                if answer.key in self._fresh and not answer.cached
            ],
            unique=("owner_id", "key"),
        )

    def _look_up(self, questions: Iterable[str]) -> dict[str, Answer]:
        wanted = list(dict.fromkeys(questions))
        found: dict[str, Answer] = {}
        for start in range(0, len(wanted), LOOKUP_KEYS):
            part = wanted[start : start + LOOKUP_KEYS]
            rows = CachedAnswer.objects.filter(owner=self._owner_id, key__in=part)
            columns = ("key", "label", "probs", "raw", "tokens_in", "tokens_out")
            for key, label, probs, raw, tokens_in, tokens_out in rows.values_list(*columns):
                found[key] = Answer(
                    0,
                    label,
                    None if probs is None else np.array(probs),
                    raw,
                    tokens_in=tokens_in,
                    tokens_out=tokens_out,
                    cached=True,
                )
        return found


class KeepingModel(_ModelAround):
    """The same, for work that stores nothing of its own: answers are kept batch by batch before they are handed on."""

    def __init__(self, model: RememberingModel, *, told: Callable[[Sequence[Answer]], None]) -> None:
        super().__init__(model)
        self._remembering = model
        self._told = told

    def ask(
        self, requests: Sequence[Request], labels: LabelSet, *, should_stop: Callable[[], bool]
    ) -> Iterator[Answer]:
        for batch in gather(self._remembering.ask(requests, labels, should_stop=should_stop)):
            self._remembering.keep(batch)
            self._told(batch)
            yield from batch


def question_keys(identity: str, labels: LabelSet, requests: Sequence[Request]) -> Mapping[int, str]:
    """For each request's key, the hash of all that decides its answer."""
    common = json.dumps([identity, labels.names]).encode()
    begun: dict[tuple[Any, ...], Any] = {}
    found = {}
    for request in requests:
        # What else a turned question has, its label names and the row, the others have too.
        before = (request.prefixes, request.turned.prefix) if request.turned else request.prefixes
        if before not in begun:
            begun[before] = hashlib.sha256(b"%s\n%s\n" % (common, json.dumps(before).encode()))
        whole = begun[before].copy()
        whole.update(request.prompt.query.encode())
        found[request.key] = whole.hexdigest()
    return found


def gather(answers: Iterable[Answer]) -> Iterator[list[Answer]]:
    """Batches of answers: as many as are worth a transaction, or what came in half a second.

    What was answered before an error is handed on first, since it is paid for.
    """
    batch: list[Answer] = []
    opened = time.monotonic()
    failure: EngineError | None = None
    try:
        for answer in answers:
            batch.append(answer)
            if len(batch) >= BATCH_ROWS or time.monotonic() - opened >= BATCH_SECONDS:
                yield batch
                batch, opened = [], time.monotonic()
    except EngineError as error:
        failure = error
    if batch:
        yield batch
    if failure:
        raise failure


def forget_old_answers() -> int:
    """Remove answers that are older than ``settings.CACHE_DAYS``; return how many there were."""
    oldest = timezone.now() - timedelta(days=settings.CACHE_DAYS)
    removed, _by_model = CachedAnswer.objects.filter(created_at__lt=oldest).delete()
    return removed


def rounded(probs: Any) -> list[float] | None:
    """A distribution as it is stored: by digits, not places, since calibration compares even the smallest shares."""
    return None if probs is None else [float(f"{value:.{DIGITS}g}") for value in probs.tolist()]


def probs_text(probs: Any) -> str | None:
    """The same as the text of a JSON column."""
    return None if probs is None else json.dumps(rounded(probs))
