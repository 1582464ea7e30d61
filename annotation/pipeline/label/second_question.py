"""Ask again, in other words, about the riskiest rows whose answers came without log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from django.db import transaction
from django.db.models import Q, QuerySet

from annotation.models import Iteration, Prediction, Sample
from annotation.models.sample import LlmLabel
from annotation.models.sql import update_rows
from annotation.pipeline.engine_rows import as_row, round_labels, round_prompt
from annotation.pipeline.label.answer_cache import gather, probs_text
from mlcore.errors import StoppedError
from mlcore.label.second_question import (
    AGREED,
    WordDoubt,
    first_index,
    make_second_requests,
    second_labels,
    weigh_answers,
)
from mlcore.prompting.answers import read_answer
from mlcore.records import NO_LABEL, Answer, Demonstration, FloatArray, IntArray, LabelSet, Request

if TYPE_CHECKING:
    from annotation.pipeline.label.session import LabelingRun

READ_ROWS = 500
TEXT_ROWS = 5_000  # whose texts are in memory at once
_ROW = [("sample", np.int64), ("risk", np.float64), ("waits", np.bool_)]


def ask_riskiest_again(run: LabelingRun, demonstrations: Sequence[Demonstration]) -> None:
    """Ask a second, different question about the riskiest rows, and store what both answers say together.

    Only where calls go to a server and answers came without a distribution. A run that goes on after a stop asks about
    what is missing of the same share. A call that fails leaves its row with the first answer alone.

    Raises:
        ModelUnavailableError, ModelCallError, BudgetSpentError: as in labeling; what was answered is kept.
        StoppedError: a person asked to pause or cancel.
    """
    iteration = run.iteration
    chosen = (
        [] if run.model.rate_limiter is None else _riskiest(iteration, run.config.second_question_percent)
    )
    if not chosen:
        return
    run.begin_phase("second", steps=len(chosen))
    labels, _label_ids = round_labels(iteration)
    parts = _requests(iteration, chosen, demonstrations)
    told = _answered(iteration).filter(second_raw__isnull=False)
    tally = [
        told.count(),
        sum(max(probs or [0.0]) >= AGREED for probs in told.values_list("probs", flat=True)),
    ]
    for batch in gather(run.model.ask_parts(parts, second_labels(labels), should_stop=run.should_stop)):
        store_second_answers(run, batch, tally)
    if run.should_stop():
        raise StoppedError


def rows_asked_twice(rows: int, percent: int) -> int:
    """Of so many rows that were answered without log-probabilities, how many are asked a second time."""
    return math.ceil(rows * percent / 100)


def _answered(iteration: Iteration) -> QuerySet[Prediction]:
    """Rows that this round asked about and whose first answer came without a distribution."""
    asked = iteration.predictions.filter(source=Prediction.ModelKind.LLM, error="")
    return asked.exclude(origin=Prediction.Origin.EARLIER).filter(
        Q(probs__isnull=True) | Q(second_raw__isnull=False)
    )


def _riskiest(iteration: Iteration, percent: int) -> list[int]:
    """Rows to ask about, the riskiest first: those whose answer can't be read, then the most doubtful ones.

    The share and the doubts are those of all rows that were answered, so that a run that goes on finds the same rows.
    """
    answered = _answered(iteration)
    wanted = rows_asked_twice(answered.count(), percent) - answered.filter(second_raw__isnull=False).count()
    if percent == 0 or wanted <= 0:
        return []
    waiting = answered.filter(second_raw__isnull=True).order_by("sample__position")
    unreadable = list(waiting.filter(label__isnull=True).values_list("sample", flat=True)[:wanted])
    if len(unreadable) == wanted:
        return unreadable
    rows = np.fromiter(_first_labels(iteration), dtype=_ROW)
    doubt = _doubt_by_words(iteration) if np.isnan(rows["risk"]).any() else rows["risk"]
    order = np.argsort(-doubt, kind="stable")
    chosen: list[int] = rows["sample"][order][rows["waits"][order]][: wanted - len(unreadable)].tolist()
    return unreadable + chosen


def _named(iteration: Iteration) -> QuerySet[Prediction]:
    return _answered(iteration).filter(label__isnull=False).order_by("sample_id")


def _first_labels(iteration: Iteration) -> Iterator[tuple[int, float, bool]]:
    """Rows that the first answer gave a label: the risk that the small model found before, and whether the second question
    is still to be asked."""
    labels, _label_ids = round_labels(iteration)
    columns = ("sample", "sample__risk", "raw", "second_raw")
    for sample, risk, raw, second in _named(iteration).values_list(*columns).iterator():
        if _by_first_answer(raw, second, labels):
            yield sample, np.nan if risk is None else risk, second is None


def _by_first_answer(raw: str, second_raw: str | None, labels: LabelSet) -> bool:
    """Whether a row has its label from its first answer, not from the second one alone."""
    return second_raw is None or read_answer(raw, labels) != NO_LABEL


def _doubt_by_words(iteration: Iteration) -> FloatArray:
    """How much the words of the other rows speak against the label of each of :func:`_first_labels` ``(N,)``, where the
    small model has not judged all of them yet."""
    words = WordDoubt(len(iteration.labels))
    for texts, labels in _texts(iteration):
        words.count(texts, labels)
    return np.concatenate([words.judge(texts, labels) for texts, labels in _texts(iteration)])


def _texts(iteration: Iteration) -> Iterator[tuple[list[str], IntArray]]:
    """The rows of :func:`_first_labels` as the model sees them, and the places of their labels; a part at a time."""
    project, (labels, label_ids) = iteration.project, round_labels(iteration)
    place: dict[int | None, int] = {label_id: index for index, label_id in enumerate(label_ids)}
    named = (
        (project.task.show(as_row(answer.sample, project)), place[answer.label_id])
        for answer in _named(iteration).select_related("sample").iterator(READ_ROWS)
        if _by_first_answer(answer.raw, answer.second_raw, labels)
    )
    while part := list(islice(named, TEXT_ROWS)):
        yield [text for text, _label in part], np.array([label for _text, label in part])


def _requests(
    iteration: Iteration, chosen: Sequence[int], demonstrations: Sequence[Demonstration]
) -> Iterator[list[Request]]:
    project = iteration.project
    for start in range(0, len(chosen), READ_ROWS):
        samples = Sample.objects.in_bulk(chosen[start : start + READ_ROWS])
        yield make_second_requests(
            [as_row(sample, project) for sample in samples.values()],
            task=project.task,
            template=round_prompt(iteration),
            labels=round_labels(iteration)[0],
            demonstrations=demonstrations,
        )


def store_second_answers(run: LabelingRun, batch: Sequence[Answer], tally: list[int]) -> None:
    """Store a batch of second answers with what they make of the first ones; ``tally`` counts rows and agreements."""
    iteration = run.iteration
    labels, label_ids = round_labels(iteration)
    answers = {answer.key: answer for answer in batch if not answer.error}
    first = iteration.predictions.filter(source=Prediction.ModelKind.LLM, sample__in=answers)
    predictions, written = [], []
    for pk, sample_id, label_id in first.values_list("pk", "sample", "label"):
        answer = answers[sample_id]
        named = NO_LABEL if label_id is None else label_ids.index(label_id)
        probs = weigh_answers(named, first_index(answer.label, labels), len(labels))
        chosen = None if probs is None else label_ids[int(probs.argmax())]
        text = probs_text(probs)
        tally[0] += 1
        tally[1] += probs is not None and probs.max() >= AGREED
        predictions.append((chosen, text, text, answer.raw, pk))
        written.append(LlmLabel(sample_id, chosen, None if probs is None else float(probs.max())))
    with transaction.atomic():
        run.lease.fence()
        run.model.keep(batch)
        update_rows(Prediction, ("label_id", "probs", "calibrated", "second_raw"), predictions)
        Sample.objects.write_llm_labels(written, round_number=iteration.number)
        asked = replace(run.progress.detail, asked_twice=tally[0], agreed=int(tally[1]))
        run.progress.report(detail=asked)
        run.count_in_phase(batch)
