"""Which rows the prompt of a round shows as examples: chosen once, stored with the round before its first question."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from django.db import transaction
from django.db.models import F

from annotation.models import Flag, Iteration, Sample, Source
from annotation.pipeline.distill.training_folder import newest_features
from annotation.pipeline.engine_rows import (
    as_row,
    demonstration_as_dict,
    demonstration_from_dict,
    round_labels,
    round_prompt,
)
from annotation.pipeline.label.answer_cache import KeepingModel
from mlcore.errors import StoppedError
from mlcore.label.annotate import (
    ANNOTATED_AT_LEAST,
    ANNOTATED_PER_DEMONSTRATION,
    annotation_passes,
    self_annotate,
)
from mlcore.prompting.demonstrations import count_demonstrations, select_demonstrations
from mlcore.records import Demonstration

if TYPE_CHECKING:
    from annotation.models import Project
    from annotation.pipeline.label.session import LabelingRun

logger = logging.getLogger(__name__)

MAX_CANDIDATES = 3_000  # rows among which the distilled selection looks for demonstrations


def choose_demonstrations(run: LabelingRun) -> list[Demonstration]:
    """The round's demonstrations: those stored with it, or chosen now and stored before the first row is asked.

    Raises:
        StoppedError: a person asked to pause or cancel; what the LLM answered meanwhile is in the cache.
    """
    lease, progress, iteration = run.lease, run.progress, run.iteration
    if progress.detail.demonstrations_chosen:
        return [demonstration_from_dict(item) for item in iteration.demonstrations]
    progress.report(phase="demonstrations", force=True)
    wanted = count_demonstrations(
        run.config.demonstrations, sets=run.config.sets, classes=len(round_labels(iteration)[0])
    )
    distilled = distilled_selection(iteration, wanted)
    if distilled is None:
        logger.warning(
            "The features of the project's last training are gone; the LLM labels rows to choose from."
        )
    chosen = distilled or _self_annotation(run)
    with transaction.atomic():
        lease.fence()
        iteration.demonstrations = [demonstration_as_dict(demonstration) for demonstration in chosen]
        iteration.save(update_fields=["demonstrations"])
    detail = replace(progress.detail, demonstrations_chosen=True, features_lost=distilled is None)
    progress.report(detail=detail, force=True)
    return chosen


def draw_rows(project: Project, *, seed: int, size: int) -> list[int]:
    """Ids of rows drawn at random; a smaller size with the same seed gives the first of them."""
    keys = np.array(project.samples.order_by("position").values_list("pk", flat=True))
    drawn: list[int] = np.random.default_rng(seed).permutation(keys)[:size].tolist()
    return drawn


def handful_size(rows: int, demonstrations: int) -> int:
    """How many rows the LLM labels first, without examples, to choose the demonstrations from."""
    return min(rows, ANNOTATED_PER_DEMONSTRATION * demonstrations, max(ANNOTATED_AT_LEAST, rows // 10))


def _self_annotation(run: LabelingRun) -> list[Demonstration]:
    """First round: the LLM labels random rows, and confident, class-balanced ones become demonstrations."""
    iteration, config = run.iteration, run.config
    size = handful_size(iteration.project.samples.count(), config.demonstrations)
    picked = draw_rows(iteration.project, seed=iteration.seed, size=size)
    samples = {sample.pk: sample for sample in Sample.objects.filter(pk__in=picked)}
    run.begin_phase("self-annotation", steps=len(picked) * annotation_passes(config.sets))
    chosen = self_annotate(
        KeepingModel(run.model, told=run.count_in_phase),
        [as_row(samples[key], iteration.project) for key in picked],
        task=iteration.project.task,
        template=round_prompt(iteration),
        labels=round_labels(iteration)[0],
        count=config.demonstrations,
        seed=iteration.seed,
        should_stop=run.should_stop,
        sets=config.sets,
    )
    if run.should_stop():  # some answers are missing, and a choice among the rest would be another one
        raise StoppedError
    return chosen


def distilled_selection(iteration: Iteration, count: int) -> list[Demonstration] | None:
    """Later rounds: representative rows among those that a person corrected or the small model found clean. A label that was
    set in bulk comes after those that people looked at, and counts as no surer than a clean one.

    Empty before the first training; None where its features are gone (another machine, a restored backup).
    """
    labels, label_ids = round_labels(iteration)
    judged = iteration.project.samples.filter(clean_prob__isnull=False, label__in=label_ids)
    decided = judged.filter(source=Source.PERSON).order_by(F("batch").asc(nulls_first=True), "-corrected_at")[
        : MAX_CANDIDATES // 2
    ]
    clean = (
        judged.exclude(source=Source.PERSON).filter(flag=Flag.RIGHT).order_by("risk", "pk")[:MAX_CANDIDATES]
    )
    candidates = list(decided) + list(clean)
    if not candidates:
        return []
    features = newest_features(iteration.project, candidates)
    if features is None:
        return None
    task = iteration.project.task
    place: dict[int | None, int] = {label_id: index for index, label_id in enumerate(label_ids)}
    return select_demonstrations(
        features,
        shown=[task.show(as_row(sample, iteration.project)) for sample in candidates],
        keys=[sample.pk for sample in candidates],
        label_index=np.array([place[sample.label_id] for sample in candidates]),
        labels=labels,
        clean_prob=np.array([sample.clean_prob for sample in candidates]),
        verified=np.array(
            [sample.source == Source.PERSON and sample.batch_id is None for sample in candidates]
        ),
        count=count,
        seed=iteration.seed,
    )
