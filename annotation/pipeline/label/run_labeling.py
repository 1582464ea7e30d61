"""The LLM stage: choose demonstrations, ask for every row, store answer by answer, calibrate over the whole corpus."""

from __future__ import annotations

from dataclasses import replace

from annotation.errors import NotReadyError
from annotation.jobs.details import LabelingDetail
from annotation.jobs.work import Job
from annotation.models import Iteration, Prediction
from annotation.pipeline.label.batches import label_by_batches
from annotation.pipeline.label.calibration import calibrate_corpus
from annotation.pipeline.label.choose_rows import choose_asked_rows
from annotation.pipeline.label.demonstrations import choose_demonstrations
from annotation.pipeline.label.label_rows import RowLabeler
from annotation.pipeline.label.parts import has_parts, label_in_parts, part_rows
from annotation.pipeline.label.reuse_answers import keep_earlier_answers, target_shares
from annotation.pipeline.label.second_question import ask_riskiest_again
from annotation.pipeline.label.session import LabelingRun, open_run
from annotation.pipeline.label.unanswered import count_answered, count_unanswered, unanswered_samples
from annotation.pipeline.measure import round_metrics
from annotation.pipeline.project.text_length import count_cut_rows
from annotation.table.filters import failure
from mlcore.llm import open_model
from mlcore.records import Demonstration


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
    run = open_run(job, iteration, open_model, run_type=LabelingRun)
    try:
        with run.pausing():
            demonstrations = choose_demonstrations(run)
            choose_asked_rows(run)
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
    done = count_answered(iteration)
    total = done + count_unanswered(iteration)
    if not has_parts(lease.stage):
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
    labeler = RowLabeler(run=run, demonstrations=demonstrations, target=target_shares(iteration), done=done)
    calls_server = run.model.rate_limiter is not None
    if calls_server and run.config.by_batches:
        if not label_by_batches(run, requests_of=labeler.requests_of, store=labeler.store):
            return
    elif has_parts(lease.stage) or total - done > part_rows(run.model):
        label_in_parts(run, labeler)
        return
    labeler.label(unanswered_samples(iteration))
    progress.report(done=labeler.done, force=True)


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
