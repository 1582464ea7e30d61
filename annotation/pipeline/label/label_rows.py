"""Ask the LLM about rows and store its answers as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from django.db import transaction

from annotation.models import Iteration, Prediction, Sample
from annotation.models.sample import LlmLabel
from annotation.models.sql import insert_rows
from annotation.pipeline.engine_rows import as_row, round_labels, round_prompt
from annotation.pipeline.label.answer_cache import gather, probs_text
from annotation.pipeline.label.calibration import RunningCalibration, label_id_of
from annotation.pipeline.label.session import LabelingRun
from mlcore.errors import StoppedError
from mlcore.label.annotate import make_requests, prompt_like_keys
from mlcore.prompting.injection import doubtful
from mlcore.records import NO_LABEL, Answer, Demonstration, FloatArray, Request, Row

# A model on this machine sorts a part's rows by length and ends them before the next part's begin, so parts are large;
# only the first is small, so that answers are on the page at once. A server is asked row by row.
FIRST_ROWS, PART_ROWS = 500, 10_000
PART_CHARACTERS = 20_000_000
STREAM_ROWS = 100  # made at a time for a server, while answers of others wait to be stored
ANSWER_COLUMNS = ("origin", "label_id", "probs", "stated", "calibrated", "raw", "error")


@dataclass(kw_only=True)
class RowLabeler:
    """Labels rows of a run, or of a part of it.

    Attributes:
        target: the class shares ``(K,)`` that its rows ought to have; None for even ones.
        done: rows that are answered, of those that the stage counts.
    """

    run: LabelingRun
    demonstrations: Sequence[Demonstration]
    target: FloatArray | None
    done: int = 0

    def __post_init__(self) -> None:
        labels, _label_ids = round_labels(self.run.iteration)
        strength = self.run.config.calibration_strength
        self._calibration = RunningCalibration(len(labels), strength=strength, target=self.target)

    def requests_of(self, rows: list[Row]) -> list[Request]:
        iteration = self.run.iteration
        labels, _label_ids = round_labels(iteration)
        self.run.prompt_like |= prompt_like_keys(rows, task=iteration.project.task, labels=labels)
        return make_requests(
            rows,
            task=iteration.project.task,
            template=round_prompt(iteration),
            labels=labels,
            demonstrations=self.demonstrations,
            sets=self.run.config.sets,
        )

    def store(self, asked: LabelingRun, answers: Iterable[Answer]) -> None:
        """Store answers as they come; ``asked``: the run whose model gave them."""
        for batch in gather(answers):
            self._calibration.add(batch)
            self.done += sum(not answer.error for answer in batch)
            store_answers(asked, batch, self._calibration, done=self.done)

    def label(self, samples: Iterable[Sequence[Sample]]) -> None:
        """Ask about rows, a part after the other.

        Raises:
            StoppedError: a person asked to pause or cancel.
        """
        run = self.run
        labels, _label_ids = round_labels(run.iteration)
        most = PART_ROWS if run.model.rate_limiter is None else STREAM_ROWS
        parts = (self.requests_of(rows) for rows in _parts(run.iteration, samples, most=most))
        self.store(run, run.model.ask_parts(parts, labels, should_stop=run.should_stop))
        if run.should_stop():
            raise StoppedError


def _parts(iteration: Iteration, samples: Iterable[Sequence[Sample]], *, most: int) -> Iterator[list[Row]]:
    """The rows in parts of ``most``."""
    limit, part, characters = min(most, FIRST_ROWS), list[Row](), 0
    for row in (as_row(sample, iteration.project) for sample in chain.from_iterable(samples)):
        part.append(row)
        characters += len(row.text) + sum(map(len, row.fields.values()))
        if len(part) >= limit or characters >= PART_CHARACTERS:
            yield part
            limit, part, characters = most, [], 0
    if part:
        yield part


def store_answers(
    run: LabelingRun, batch: list[Answer], calibration: RunningCalibration, *, done: int
) -> None:
    """Store one batch: the answers for ever, the rows' labels, and how far the stage is."""
    _labels, label_ids = round_labels(run.iteration)
    unreadable = sum(answer.label == NO_LABEL and not answer.error for answer in batch)
    prompt_like = [answer.key for answer in batch if answer.key in run.prompt_like]
    predictions, written = [], []
    for answer in batch:
        doubted = answer.key in run.prompt_like and answer.label != NO_LABEL
        given = doubtful(answer, len(label_ids)) if doubted else answer.probs
        calibrated = given if doubted else calibration.calibrate(given)
        label_id = label_id_of(answer, calibrated, label_ids)
        origin = Prediction.Origin.CACHE if answer.cached else Prediction.Origin.ASKED
        probs, even = probs_text(given), probs_text(calibrated)
        predictions.append(
            (
                run.iteration.pk,
                "llm",
                answer.key,
                origin.value,
                label_id,
                probs,
                answer.stated,
                even,
                answer.raw,
                answer.error.as_text() if answer.error else "",
            )
        )
        written.append(
            LlmLabel(answer.key, label_id, None if calibrated is None else float(calibrated.max()))
        )
    with transaction.atomic():
        run.lease.fence()
        run.model.keep(batch)
        insert_rows(
            Prediction,
            ("iteration_id", "source", "sample_id", *ANSWER_COLUMNS),
            predictions,
            unique=("iteration_id", "source", "sample_id"),
            update=ANSWER_COLUMNS,
        )
        Sample.objects.write_llm_labels(written, round_number=run.iteration.number)
        Sample.objects.filter(pk__in=prompt_like, prompt_like=False).update(prompt_like=True)
        detail = run.progress.detail
        detail = replace(
            detail,
            unreadable=detail.unreadable + unreadable,
            prompt_rows=detail.prompt_rows + len(prompt_like),
        )
        run.progress.report(done=done, detail=detail)
        run.count(batch)
