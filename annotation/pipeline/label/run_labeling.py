"""The LLM stage: choose demonstrations, ask for every row, store answer by answer, calibrate over the whole corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain

from django.db import transaction

from annotation.errors import NotReadyError
from annotation.jobs.details import LabelingDetail
from annotation.jobs.work import Job
from annotation.models import Iteration, Prediction, Sample
from annotation.models.sample import LlmLabel
from annotation.models.sql import insert_rows
from annotation.pipeline.engine_rows import as_row, round_labels, round_prompt
from annotation.pipeline.label.answer_cache import gather, probs_text
from annotation.pipeline.label.batches import label_by_batches
from annotation.pipeline.label.calibration import RunningCalibration, calibrate_corpus, label_id_of
from annotation.pipeline.label.demonstrations import choose_demonstrations
from annotation.pipeline.label.reuse_answers import keep_earlier_answers, target_shares
from annotation.pipeline.label.second_question import ask_riskiest_again
from annotation.pipeline.label.session import LabelingRun, open_run
from annotation.pipeline.label.unanswered import count_unanswered, unanswered_samples
from annotation.pipeline.measure import round_metrics
from annotation.pipeline.project.text_length import count_cut_rows
from annotation.table.filters import failure
from mlcore.errors import StoppedError
from mlcore.label.annotate import make_requests, prompt_like_keys
from mlcore.llm import open_model
from mlcore.prompting.injection import doubtful
from mlcore.records import NO_LABEL, Answer, Demonstration, Request, Row

# A model on this machine sorts a part's rows by length and ends them before the next part's begin, so parts are large;
# only the first is small, so that answers are on the page at once. A server is asked row by row.
FIRST_ROWS, PART_ROWS = 500, 10_000
PART_CHARACTERS = 20_000_000
STREAM_ROWS = 100  # made at a time for a server, while answers of others wait to be stored
ANSWER_COLUMNS = ("origin", "label_id", "probs", "stated", "calibrated", "raw", "error")


def run_labeling(job: Job[LabelingDetail]) -> None:
    """Label every row of the project that this round has no answer for yet.

    Answers are stored in small transactions as they come, so a run that is paused, cancelled or killed keeps them
    and goes on where it stopped. A row whose call failed is asked again when the stage is resumed.

    Raises:
        ModelUnavailableError: the model can't be used (any longer); what was answered is kept.
        PausedError: the budget is spent, or so many calls failed in a row that going on is pointless for now.
        StoppedError: a person asked to pause or cancel.
    """
    iteration = Iteration.objects.select_related("project").get(stages=job.stage)
    run = open_run(job, iteration, open_model)
    try:
        with run.pausing():
            demonstrations = choose_demonstrations(run)
            keep_earlier_answers(run)
            _label_corpus(run, demonstrations)
            ask_riskiest_again(run, demonstrations)
    finally:
        run.model.close()
    _check_answered(run)
    calibrate_corpus(run)
    round_metrics.record_metrics(iteration)


def _label_corpus(run: LabelingRun, demonstrations: list[Demonstration]) -> None:
    lease, progress, iteration = run.lease, run.progress, run.iteration
    labels, _label_ids = round_labels(iteration)
    total = iteration.project.samples.count()
    done = total - count_unanswered(iteration)
    progress.report(
        phase="labeling",
        total=total,
        done=done,
        detail=replace(
            progress.detail,
            done_before=done,
            began_after=lease.seconds(),
            cut_rows=count_cut_rows(iteration.project, run.config.characters),
            tokens_before=[lease.stage.tokens_in, lease.stage.tokens_out],
        ),
        force=True,
    )
    calibration = RunningCalibration(
        len(labels),
        strength=run.config.calibration_strength,
        target=target_shares(run.iteration),
    )

    def requests_of(rows: list[Row]) -> list[Request]:
        run.prompt_like |= prompt_like_keys(rows, task=iteration.project.task, labels=labels)
        return make_requests(
            rows,
            task=iteration.project.task,
            template=round_prompt(iteration),
            labels=labels,
            demonstrations=demonstrations,
            sets=run.config.sets,
        )

    most = PART_ROWS if run.model.rate_limiter is None else STREAM_ROWS
    parts = (requests_of(rows) for rows in _unlabelled_rows(iteration, most=most))

    def store(asked: LabelingRun, answers: Iterable[Answer]) -> None:
        nonlocal done
        for batch in gather(answers):
            calibration.add(batch)
            done += sum(not answer.error for answer in batch)
            store_answers(asked, batch, calibration, done=done)

    by_batches = run.config.by_batches and run.model.rate_limiter is not None
    if not by_batches or label_by_batches(run, requests_of=requests_of, store=store):
        store(run, run.model.ask_parts(parts, labels, should_stop=run.should_stop))
    if run.should_stop():
        raise StoppedError
    progress.report(done=done, force=True)


def _unlabelled_rows(iteration: Iteration, *, most: int) -> Iterator[list[Row]]:
    """Rows without an answer in this round, in the corpus' order, in parts of ``most``; each row once."""
    limit, part, characters = min(most, FIRST_ROWS), list[Row](), 0
    samples = chain.from_iterable(unanswered_samples(iteration))
    for row in (as_row(sample, iteration.project) for sample in samples):
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


def _check_answered(run: LabelingRun) -> None:
    answers = run.iteration.predictions.filter(source=Prediction.ModelKind.LLM)
    counts = {why: answers.filter(failure(why)).count() for why in ("refused", "long", "other")}
    detail = replace(
        run.progress.detail,
        refused_rows=sum(counts.values()),
        refused_by={why: count for why, count in counts.items() if count},
    )
    run.progress.report(detail=detail, force=True)
    if not answers.filter(error="").exists():
        raise NotReadyError(
            "The LLM did not answer any row. See the errors in the table, correct the settings, and resume."
        )
