"""The LLM stage: choose demonstrations, ask for every row, store answer by answer, calibrate over the whole corpus."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from annotation import jobs, stats
from annotation.errors import NotReadyError
from annotation.models import Flag, Iteration, Prediction, Sample, Source
from annotation.models.sample import LlmLabel
from annotation.pipeline.iterate import start_filtering
from annotation.pipeline.rows import (
    as_row,
    demonstration_as_dict,
    demonstration_from_dict,
    round_labels,
    round_prompt,
)
from annotation.pipeline.training_folder import newest_features
from mlcore.calibrate import calibrate_batch
from mlcore.config import LlmConfig
from mlcore.demos import select_demonstrations
from mlcore.errors import StoppedError
from mlcore.label import label_rows, self_annotate
from mlcore.llm import open_model
from mlcore.records import NO_LABEL, Answer, Demonstration, Row

if TYPE_CHECKING:
    from mlcore.llm import LanguageModel

BATCH_ROWS = 100
BATCH_SECONDS = 0.5
READ_ROWS = 2_000
HANDFUL_PER_DEMONSTRATION = 25  # rows that the LLM labels first, to choose demonstrations from
HANDFUL_AT_LEAST = 100
MAX_CANDIDATES = 3_000  # rows among which the distilled selection looks for demonstrations


def run_labeling(claim: jobs.Claim) -> None:
    """Label every row of the project that this round has no answer for yet.

    Answers are stored in small transactions as they come, so a run that is paused, cancelled or killed keeps them
    and goes on where it stopped. A row whose call failed is asked again when the stage is resumed.

    Raises:
        ModelUnavailableError, ModelCallError: the model can't be used (any longer); what was answered is kept.
        StoppedError: a person asked to pause or cancel.
    """
    iteration = _iteration(claim)
    config = LlmConfig(**iteration.llm_settings)
    model = open_model(
        config,
        token=iteration.project.llm_token,
        allowed_hosts=settings.LLM_ALLOWED_HOSTS,
        weights_dir=settings.MODEL_DIR,
        cache_dir=settings.CACHE_DIR,
    )
    try:
        demonstrations = _demonstrations(claim, iteration, config, model)
        _label_corpus(claim, iteration, config, model, demonstrations)
    finally:
        model.close()
    _calibrate_corpus(claim, iteration, config)
    stats.record_metrics(iteration)
    if iteration.project.chain_stages:
        claim.on_done = partial(start_filtering, iteration, user=claim.stage.requested_by)


def _iteration(claim: jobs.Claim) -> Iteration:
    return Iteration.objects.select_related("project").get(stages=claim.stage)


# --- Demonstrations -----------------------------------------------------------------------------------------------


def _demonstrations(
    claim: jobs.Claim, iteration: Iteration, config: LlmConfig, model: LanguageModel
) -> list[Demonstration]:
    """The round's demonstrations: those stored with it, or chosen now and stored before the first row is asked."""
    if claim.stage.detail_value("demonstrations_chosen"):
        return [demonstration_from_dict(item) for item in iteration.demonstrations]
    claim.report(phase="demonstrations", force=True)
    chosen = _distilled_selection(iteration, config) or _self_annotation(claim, iteration, config, model)
    with transaction.atomic():
        claim.fence()
        iteration.demonstrations = [demonstration_as_dict(demonstration) for demonstration in chosen]
        iteration.save(update_fields=["demonstrations"])
    claim.report(detail={"demonstrations_chosen": True}, force=True)
    return chosen


def _self_annotation(
    claim: jobs.Claim, iteration: Iteration, config: LlmConfig, model: LanguageModel
) -> list[Demonstration]:
    """First round: the LLM labels random rows, and confident, class-balanced ones become demonstrations."""
    rng = np.random.default_rng(iteration.seed)
    keys = np.array(iteration.project.samples.order_by("position").values_list("pk", flat=True))
    handful = min(HANDFUL_PER_DEMONSTRATION * config.demonstrations, max(HANDFUL_AT_LEAST, len(keys) // 10))
    picked = rng.permutation(keys)[:handful].tolist()
    samples = {sample.pk: sample for sample in Sample.objects.filter(pk__in=picked)}
    return self_annotate(
        model,
        [as_row(samples[key], iteration.project) for key in picked],
        task=iteration.project.task,
        template=round_prompt(iteration),
        labels=round_labels(iteration)[0],
        count=config.demonstrations,
        seed=iteration.seed,
        should_stop=claim.should_stop,
    )


def _distilled_selection(iteration: Iteration, config: LlmConfig) -> list[Demonstration]:
    """Later rounds: representative rows among those that a person corrected or the small model found clean.

    Empty before the first training, and where its features are gone (another machine, a restored backup).
    """
    labels, label_ids = round_labels(iteration)
    judged = iteration.project.samples.filter(clean_prob__isnull=False, label__in=label_ids)
    verified = judged.filter(source=Source.PERSON).order_by("-corrected_at")[: MAX_CANDIDATES // 2]
    clean = (
        judged.exclude(source=Source.PERSON).filter(flag=Flag.RIGHT).order_by("risk", "pk")[:MAX_CANDIDATES]
    )
    candidates = list(verified) + list(clean)
    features = newest_features(iteration.project, candidates) if candidates else None
    if features is None:
        return []
    task = iteration.project.task
    place: dict[int | None, int] = {label_id: index for index, label_id in enumerate(label_ids)}
    return select_demonstrations(
        features,
        shown=[task.show(as_row(sample, iteration.project)) for sample in candidates],
        keys=[sample.pk for sample in candidates],
        label_index=np.array([place[sample.label_id] for sample in candidates]),
        labels=labels,
        clean_prob=np.array([sample.clean_prob for sample in candidates]),
        verified=np.array([sample.source == Source.PERSON for sample in candidates]),
        count=config.demonstrations,
        seed=iteration.seed,
    )


# --- The corpus ---------------------------------------------------------------------------------------------------


def _label_corpus(
    claim: jobs.Claim,
    iteration: Iteration,
    config: LlmConfig,
    model: LanguageModel,
    demonstrations: list[Demonstration],
) -> None:
    labels, label_ids = round_labels(iteration)
    total = iteration.project.samples.count()
    done = total - iteration.project.samples.unlabelled_by(iteration, "llm").count()
    claim.report(
        phase="labeling",
        total=total,
        done=done,
        detail={"done_before": done, "began_after": claim.seconds()},
        force=True,
    )
    tokens_in, tokens_out = claim.stage.tokens_in, claim.stage.tokens_out
    class_mass = np.zeros(len(labels))
    for rows in _unlabelled_rows(iteration):
        answers = label_rows(
            model,
            rows,
            task=iteration.project.task,
            template=round_prompt(iteration),
            labels=labels,
            demonstrations=demonstrations,
            should_stop=claim.should_stop,
        )
        for batch in _batches(answers):
            class_mass += sum(
                (answer.probs for answer in batch if answer.probs is not None), np.zeros(len(labels))
            )
            _store_answers(
                claim,
                iteration,
                batch,
                label_ids,
                class_mass=class_mass,
                strength=config.calibration_strength,
            )
            done += sum(not answer.error for answer in batch)
            tokens_in += sum(answer.tokens_in for answer in batch)
            tokens_out += sum(answer.tokens_out for answer in batch)
            claim.report(done=done, tokens_in=tokens_in, tokens_out=tokens_out)
        if claim.should_stop():
            raise StoppedError(_("Stopped on request; the answers so far are kept."))
    claim.report(done=done, tokens_in=tokens_in, tokens_out=tokens_out, force=True)


def _unlabelled_rows(iteration: Iteration) -> Iterator[list[Row]]:
    """Rows without an answer in this round, in the corpus' order, some thousand at a time; each row once."""
    after = -1
    waiting = iteration.project.samples.unlabelled_by(iteration, "llm").order_by("position")
    while samples := list(waiting.filter(position__gt=after)[:READ_ROWS]):
        after = samples[-1].position
        yield [as_row(sample, iteration.project) for sample in samples]


def _batches(answers: Iterable[Answer]) -> Iterator[list[Answer]]:
    """Gather answers until there are enough of them, or enough time has gone by."""
    batch: list[Answer] = []
    opened = time.monotonic()
    for answer in answers:
        batch.append(answer)
        if len(batch) >= BATCH_ROWS or time.monotonic() - opened >= BATCH_SECONDS:
            yield batch
            batch, opened = [], time.monotonic()
    if batch:
        yield batch


def _store_answers(
    claim: jobs.Claim,
    iteration: Iteration,
    batch: Sequence[Answer],
    label_ids: list[int],
    *,
    class_mass: Any,
    strength: float,
) -> None:
    """Store one batch. Until the corpus is whole, labels are calibrated by the class shares of the answers so far."""
    predictions, written = [], []
    for answer in batch:
        calibrated = _calibrated_so_far(answer, class_mass, strength)
        label_id = _label_id(answer, calibrated, label_ids)
        predictions.append(
            Prediction(
                sample_id=answer.key,
                iteration=iteration,
                source=Prediction.ModelKind.LLM,
                label_id=label_id,
                probs=_rounded(answer.probs),
                calibrated=_rounded(calibrated),
                raw=answer.raw,
                error=answer.error,
            )
        )
        written.append(
            LlmLabel(answer.key, label_id, None if calibrated is None else float(calibrated.max()))
        )
    with transaction.atomic():
        claim.fence()
        Prediction.objects.bulk_create(
            predictions,
            update_conflicts=True,
            unique_fields=["iteration", "source", "sample"],
            update_fields=["label", "probs", "calibrated", "raw", "error"],
        )
        Sample.objects.write_llm_labels(written, round_number=iteration.number)


def _calibrated_so_far(answer: Answer, class_mass: Any, strength: float) -> Any:
    if answer.probs is None:
        return None
    share = class_mass / class_mass.sum()
    weighted = answer.probs / np.maximum(share, 1e-9) ** strength
    return weighted / weighted.sum()


def _label_id(answer: Answer, calibrated: Any, label_ids: list[int]) -> int | None:
    if answer.error:
        return None
    if calibrated is not None:
        return label_ids[int(calibrated.argmax())]
    return None if answer.label == NO_LABEL else label_ids[answer.label]


def _rounded(probs: Any) -> list[float] | None:
    return None if probs is None else [round(float(value), 6) for value in probs]


def _calibrate_corpus(claim: jobs.Claim, iteration: Iteration, config: LlmConfig) -> None:
    """Remove the class bias over the whole corpus at once, and set every row's LLM label from the result.

    Repeating it gives the same labels, so a run that is killed here simply does it again.
    """
    _labels, label_ids = round_labels(iteration)
    answers = Prediction.objects.filter(
        iteration=iteration, source=Prediction.ModelKind.LLM, probs__isnull=False
    )
    stored = list(answers.order_by("pk").values_list("pk", "sample_id", "probs"))
    answered = Prediction.objects.filter(iteration=iteration, source=Prediction.ModelKind.LLM, error="")
    if not answered.exists():
        raise NotReadyError(
            _("The LLM answered no row. See the errors in the table, mend the settings, and resume.")
        )
    if not stored:
        return
    claim.report(phase="calibration", force=True)
    calibrated = calibrate_batch(
        np.array([probs for _pk, _sample, probs in stored]), strength=config.calibration_strength
    )
    for start in range(0, len(stored), READ_ROWS):
        part = slice(start, start + READ_ROWS)
        predictions, written = [], []
        for (pk, sample_id, _probs), row in zip(stored[part], calibrated[part], strict=True):
            label_id = label_ids[int(row.argmax())]
            predictions.append(Prediction(pk=pk, label_id=label_id, calibrated=_rounded(row)))
            written.append(LlmLabel(sample_id, label_id, float(row.max())))
        with transaction.atomic():
            claim.fence()
            Prediction.objects.bulk_update(predictions, ["label", "calibrated"], batch_size=200)
            Sample.objects.write_llm_labels(written, round_number=iteration.number)
