"""Try a few rows before a run: their answers beside the prompt, and what the whole corpus will take.

The rows are the first of those that a first round labels anyway to find its demonstrations, with the same prompt: so
the run finds their answers in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np

from annotation.jobs.details import TrialDetail
from annotation.jobs.work import Job
from annotation.models import Sample
from annotation.pipeline.engine_rows import as_row, demonstration_from_dict
from annotation.pipeline.label.answer_cache import KeepingModel
from annotation.pipeline.label.choose_rows import rows_asked
from annotation.pipeline.label.demonstrations import draw_rows, handful_size
from annotation.pipeline.label.second_question import rows_asked_twice
from annotation.pipeline.label.session import ModelRun, open_model_of
from annotation.pipeline.label.start_try_out import TRIAL_ROWS, decides_trial
from annotation.pipeline.project.text_length import count_cut_rows
from mlcore.errors import StoppedError
from mlcore.label.annotate import label_rows, passes_a_row
from mlcore.llm import open_model
from mlcore.llm.cost import Forecast, forecast
from mlcore.prompting.prompts import render_prompt
from mlcore.records import NO_LABEL, Answer, Demonstration, Row

if TYPE_CHECKING:
    from mlcore.prompting.prompts import PromptTemplate
    from mlcore.records import LabelSet


def run_trial(job: Job[TrialDetail]) -> None:
    """Ask about the rows, and store what came with the stage: no row of the corpus gets a label from it.

    Raises:
        ModelUnavailableError: the model can't be used.
        PausedError: the budget is spent, or the server is down.
        StoppedError: a person asked to pause or cancel.
    """
    project = job.stage.project
    latest = project.latest_iteration()
    demonstrations = [demonstration_from_dict(item) for item in latest.demonstrations] if latest else []
    drawn = draw_rows(project, seed=latest.number if latest else 0, size=TRIAL_ROWS)
    samples = {sample.pk: sample for sample in Sample.objects.filter(pk__in=drawn)}
    rows = [as_row(samples[key], project) for key in drawn]
    run = open_model_of(job, project, project.llm_config, open_model)
    found: list[Answer] = []

    def told(batch: Sequence[Answer]) -> None:
        found.extend(batch)
        run.count(batch)
        job.progress.report(done=len(found))

    try:
        asked_with = replace(job.progress.detail, asked_with=decides_trial(project))
        job.progress.report(phase="trial", total=len(rows), done=0, detail=asked_with, force=True)
        with run.pausing():
            answers = label_rows(
                KeepingModel(run.model, told=told),
                rows,
                task=project.task,
                template=project.prompt,
                labels=project.label_set(),
                demonstrations=demonstrations,
                should_stop=run.should_stop,
                sets=run.config.sets,
            )
            list(answers)
    finally:
        run.model.close()
    if run.should_stop():
        raise StoppedError
    job.progress.report(detail=_result(run, rows, samples, found, demonstrations), force=True)


def _result(
    run: ModelRun[TrialDetail],
    rows: Sequence[Row],
    samples: dict[int, Sample],
    found: Sequence[Answer],
    demonstrations: Sequence[Demonstration],
) -> TrialDetail:
    project, labels = run.project, run.project.label_set()
    answers = {answer.key: answer for answer in found}
    shown = {row.key: project.task.show(row) for row in rows}
    prompts = {
        row.key: render_prompt(
            project.prompt,
            labels=labels,
            demonstrations=[each for each in demonstrations if each.key != row.key],
            shown=shown[row.key],
        )
        for row in rows
    }
    told = [
        {
            "number": samples[row.key].number,
            "query": prompts[row.key].query,
            "label": None if answer.label == NO_LABEL else labels.names[answer.label],
            "raw": answer.raw[:2_000],
            "error": answer.error and answer.error.as_json(),
            "confidence": None if answer.probs is None else round(float(answer.probs.max()), 4),
            "stated": answer.stated,
            "cached": answer.cached,
        }
        for row in rows
        if (answer := answers.get(row.key))
    ]
    counted = [answer for answer in found if not answer.error]
    unreadable = sum(answer.label == NO_LABEL for answer in counted)
    stands_for = list(demonstrations) or _stand_ins(counted, shown, labels, run.config.demonstrations)
    estimate = _estimate(run, counted, shown, project.prompt, labels, stands_for, bool(demonstrations))
    return replace(
        run.progress.detail,
        rows=told,
        prefix=prompts[rows[0].key].prefix,
        failed=len(found) - len(counted),
        unreadable=unreadable,
        unreadable_share=unreadable / len(counted) if counted else None,
        estimate=asdict(estimate) if estimate else None,
        corpus_rows=project.samples.count(),
        cut_rows=count_cut_rows(project, run.config.characters),
        second_percent=run.config.second_question_percent if _asked_twice(run, counted, 100) else 0,
    )


def _stand_ins(
    answers: Sequence[Answer], shown: dict[int, str], labels: LabelSet, count: int
) -> list[Demonstration]:
    """As many of the rows tried as the run will show as examples: good enough to tell how long a prompt gets."""
    named = [answer for answer in answers if answer.label != NO_LABEL]
    return [Demonstration(-1, shown[each.key], labels.names[each.label]) for each in named[:count]]


def _estimate(
    run: ModelRun[TrialDetail],
    answers: Sequence[Answer],
    shown: dict[int, str],
    template: PromptTemplate,
    labels: LabelSet,
    demonstrations: Sequence[Demonstration],
    were_shown: bool,
) -> Forecast | None:
    if not answers:
        return None
    project, config = run.project, run.config

    def size(key: int, shown_demonstrations: Sequence[Demonstration]) -> int:
        prompt = render_prompt(template, labels=labels, demonstrations=shown_demonstrations, shown=shown[key])
        return len(prompt.text.encode())

    is_local = run.model.rate_limiter is None
    passes = 1.0
    if were_shown or is_local:  # on this machine, what rows share is read once
        later_passes = passes_a_row(config.sets, classes=len(labels), demonstrated=True)
        passes = 1.0 if were_shown else later_passes / passes_a_row(config.sets, classes=len(labels))
        longer = np.full(len(answers), passes)
    else:
        longer = np.array([size(each.key, demonstrations) / size(each.key, []) for each in answers])
    later, corpus = project.iterations.exists(), project.samples.count()
    rows = project.samples.at_risk().count() if later else corpus
    rows = min(rows, rows_asked(corpus, config.asked_percent))
    return forecast(
        [answer.tokens_in for answer in answers],
        [answer.tokens_out for answer in answers],
        [answer.seconds * passes for answer in answers if not answer.cached],
        longer=longer.tolist(),
        rows=rows + _asked_twice(run, answers, rows),
        handful=0 if later else handful_size(corpus, config.demonstrations),
        at_once=1 if is_local else config.concurrency,
        price_in=run.budget.prices.price_in,
        price_out=run.budget.prices.price_out,
    )


def _asked_twice(run: ModelRun[TrialDetail], answers: Sequence[Answer], rows: int) -> int:
    """How many of so many rows will be asked a second time: a share, where a server gives no log-probabilities."""
    if run.model.rate_limiter is None or any(answer.probs is not None for answer in answers):
        return 0
    return rows_asked_twice(rows, run.config.second_question_percent)
