"""Ask a model about the rows that people answered blind, so that models and prompts can be compared on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from annotation.jobs.details import ComparisonDetail
from annotation.jobs.work import Job
from annotation.models import Sample
from annotation.pipeline.engine_rows import as_row, demonstration_from_dict
from annotation.pipeline.label.answer_cache import KeepingModel
from annotation.pipeline.label.session import open_model_of
from annotation.pipeline.measure.annotations import blind_answers
from mlcore.errors import StoppedError
from mlcore.label.annotate import label_rows
from mlcore.label.calibrate import calibrate_batch
from mlcore.llm import open_model
from mlcore.records import NO_LABEL, Answer


def run_comparison(job: Job[ComparisonDetail]) -> None:
    """Ask about each such row, with the newest round's demonstrations, and store the answers with the stage alone.

    Raises:
        ModelUnavailableError: the model can't be used.
        PausedError: the budget is spent, or the server is down.
        StoppedError: a person asked to pause or cancel.
    """
    project, number = job.stage.project, job.progress.detail.connection
    connected = project.connections.get(pk=number) if number else project
    config, labels = connected.llm_config, project.label_list()
    latest = project.latest_iteration()
    samples = Sample.objects.filter(pk__in=blind_answers(project)).order_by("position")
    rows = [as_row(sample, project) for sample in samples]
    run = open_model_of(job, project, config, open_model, connected=connected)
    found: list[Answer] = []

    def told(batch: Sequence[Answer]) -> None:
        found.extend(batch)
        run.count(batch)
        job.progress.report(done=len(found))

    try:
        job.progress.report(phase="comparing", total=len(rows), done=0, force=True)
        with run.pausing():
            answers = label_rows(
                KeepingModel(run.model, told=told),
                rows,
                task=project.task,
                template=replace(project.prompt, characters=config.characters),
                labels=project.label_set(labels),
                demonstrations=[demonstration_from_dict(item) for item in latest.demonstrations]
                if latest
                else [],
                should_stop=run.should_stop,
                sets=config.sets,
            )
            list(answers)
    finally:
        run.model.close()
    if run.should_stop():
        raise StoppedError
    seconds = [answer.seconds for answer in found if not answer.cached and not answer.error]
    detail = replace(
        job.progress.detail,
        answers={
            str(key): None if label == NO_LABEL else labels[label].pk
            for key, label in _labels(found, config.calibration_strength).items()
        },
        answer_tokens=[sum(answer.tokens_in for answer in found), sum(answer.tokens_out for answer in found)],
        latency=sum(seconds) / len(seconds) if seconds else None,
    )
    job.progress.report(detail=detail, force=True)


def _labels(answers: Sequence[Answer], strength: float) -> dict[int, int]:
    """The label index of each row, without the model's bias towards some labels, as a run removes it."""
    labels = {answer.key: answer.label for answer in answers}
    given = {answer.key: answer.probs for answer in answers if answer.probs is not None}
    if given:
        even = calibrate_batch(np.stack(list(given.values())), strength=strength)
        labels |= zip(given, even.argmax(axis=1).tolist(), strict=True)
    return labels
