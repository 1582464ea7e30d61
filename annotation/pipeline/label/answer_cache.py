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
from dataclasses import dataclass, field, replace
from datetime import timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from django.conf import settings
from django.db import connection
from django.utils import timezone

from annotation.models import CachedAnswer
from annotation.models.sql import insert_rows
from mlcore.errors import EngineError
from mlcore.llm.model import StreamingModel
from mlcore.records import Answer, LabelSet, Request

if TYPE_CHECKING:
    from mlcore.llm import LanguageModel
    from mlcore.llm.endpoint.capabilities import Capabilities
    from mlcore.llm.endpoint.rate_limit import RateLimiter

BATCH_ROWS = 100
BATCH_SECONDS = 0.5
LOOKUP_KEYS = 500
DIGITS = 6


class ModelAround:
    """What a model that asks another one, ``inner``, has from it."""

    def __init__(self, model: LanguageModel) -> None:
        self.inner = model

    @property
    def identity(self) -> str:
        return self.inner.identity

    @property
    def rate_limiter(self) -> RateLimiter | None:
        return self.inner.rate_limiter

    @property
    def capabilities(self) -> Capabilities | None:
        return self.inner.capabilities

    def close(self) -> None:
        self.inner.close()


class RememberingModel(ModelAround):
    """A language model that answers from the cache what its owner has asked before.

    Fresh answers are handed on as they come; whoever stores them calls :meth:`keep` in the same transaction. A row
    whose question another row of the same call asks too is answered with it.
    """

    def __init__(self, model: LanguageModel, *, owner_id: int) -> None:
        super().__init__(model)
        self._owner_id = owner_id
        self._fresh: dict[int, str] = {}  # request key -> question, for answers that are to be kept
        self._unkept: dict[str, Answer] = {}  # the same by question, until they are kept

    def ask(
        self, requests: Sequence[Request], labels: LabelSet, *, should_stop: Callable[[], bool]
    ) -> Iterator[Answer]:
        """See :class:`mlcore.llm.LanguageModel`. What is ``cached`` cost its tokens once, and nothing this time."""
        return self.ask_parts([requests], labels, should_stop=should_stop)

    def ask_parts(
        self, parts: Iterable[Sequence[Request]], labels: LabelSet, *, should_stop: Callable[[], bool]
    ) -> Iterator[Answer]:
        """Ask about one part after the other; where calls go to a server, they don't pause between two parts."""
        asking = _Asking()
        if isinstance(self.inner, StreamingModel):
            items = (item for part in parts for item in self._look_up(part, labels, asking))
            yield from self._hand_on(self.inner.ask_stream(items, labels, should_stop=should_stop), asking)
            return
        for part in parts:
            requests = []
            for item in self._look_up(part, labels, asking):
                if isinstance(item, Answer):
                    yield item
                else:
                    requests.append(item)
            yield from self._hand_on(self.inner.ask(requests, labels, should_stop=should_stop), asking)
            if should_stop():
                return

    def _look_up(
        self, requests: Sequence[Request], labels: LabelSet, asking: _Asking
    ) -> Iterator[Request | Answer]:
        """For each request its answer, if it is known, or itself, unless another row has asked the same just before."""
        for start in range(0, len(requests), LOOKUP_KEYS):
            part = requests[start : start + LOOKUP_KEYS]
            questions = question_keys(self.identity, labels, part)
            stored = self._stored(set(questions.values()))
            found: list[Request | Answer] = []  # all at once: what is stored changes while they are drawn
            for request in part:
                question = questions[request.key]
                known = stored.get(question) or self._unkept.get(question)
                if known:
                    found.append(replace(known, key=request.key, cached=True))
                elif question in asking.others:
                    asking.others[question].append(request.key)
                else:
                    asking.questions[request.key], asking.others[question] = question, []
                    found.append(request)
            yield from found

    def _hand_on(self, answers: Iterable[Answer], asking: _Asking) -> Iterator[Answer]:
        """Note what is to be kept, and answer the rows that asked the same."""
        for answer in answers:
            question = asking.questions.pop(answer.key, None)
            if question is None:  # it was known
                yield answer
                continue
            others = asking.others.pop(question)
            if not answer.error:
                self._fresh[answer.key], self._unkept[question] = question, answer
            yield answer
            for key in others:
                yield replace(answer, key=key, cached=not answer.error)

    def keep(self, answers: Iterable[Answer]) -> None:
        """Write the fresh ones among these answers into the cache."""
        now = connection.ops.adapt_datetimefield_value(timezone.now())
        rows = (
            sorted(  # by question: two workers that store the same ones would wait for each other otherwise
                [
                    (
                        self._owner_id,
                        self._pop_question(answer),
                        answer.label,
                        probs_text(answer.probs),
                        answer.stated,
                        answer.raw,
                        answer.tokens_in,
                        answer.tokens_out,
                        now,
                    )
                    for answer in answers
                    if answer.key in self._fresh and not answer.cached
                ],
                key=itemgetter(1),
            )
        )
        columns = (
            "owner_id",
            "key",
            "label",
            "probs",
            "stated",
            "raw",
            "tokens_in",
            "tokens_out",
            "created_at",
        )
        insert_rows(CachedAnswer, columns, rows, unique=("owner_id", "key"))

    def _pop_question(self, answer: Answer) -> str:
        question = self._fresh.pop(answer.key)
        self._unkept.pop(question, None)
        return question

    def _stored(self, questions: set[str]) -> dict[str, Answer]:
        rows = CachedAnswer.objects.filter(owner=self._owner_id, key__in=questions)
        columns = ("key", "label", "probs", "stated", "raw", "tokens_in", "tokens_out")
        return {
            key: Answer(
                0,
                label,
                None if probs is None else np.array(probs),
                raw,
                tokens_in=tokens_in,
                tokens_out=tokens_out,
                stated=stated,
            )
            for key, label, probs, stated, raw, tokens_in, tokens_out in rows.values_list(*columns)
        }


@dataclass(slots=True)
class _Asking:
    """What is being asked.

    Attributes:
        questions: request key -> question.
        others: question -> keys of further requests that ask it.
    """

    questions: dict[int, str] = field(default_factory=dict)
    others: dict[str, list[int]] = field(default_factory=dict)


class KeepingModel(ModelAround):
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
