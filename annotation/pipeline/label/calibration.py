"""Remove the LLM's bias towards some labels: roughly while answers come, and over the whole corpus at the end."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from django.db import transaction
from django.db.models import Q

from annotation.models import AuditDraw, Iteration, Prediction, Sample, Source
from annotation.models.sample import LlmLabel
from annotation.models.sql import update_rows
from annotation.pipeline.engine_rows import round_labels
from annotation.pipeline.label.answer_cache import probs_text
from annotation.pipeline.label.reuse_answers import target_shares
from annotation.pipeline.measure.annotations import blind_answers
from mlcore.errors import StoppedError
from mlcore.label.calibrate import calibrate_batch, choose_strength, spread_stated
from mlcore.probabilities import apply_temperature, fit_temperature
from mlcore.records import NO_LABEL, Answer, BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from annotation.pipeline.label.session import LabelingRun

WRITE_ROWS = 2_000
CHECKED_ROWS = 50  # fewer tell too little of how sure the model ought to be


class RunningCalibration:
    """Calibrates by the class shares of the answers so far, until the corpus is whole.

    Args:
        classes: number of labels.
        strength: 1 removes the whole bias, 0 none of it.
        target: the class shares ``(K,)`` that these rows ought to have; None for even ones.
    """

    def __init__(self, classes: int, *, strength: float, target: FloatArray | None = None) -> None:
        self._mass = np.zeros(classes)
        self._strength = strength
        self._target = np.full(classes, 1 / classes) if target is None else target

    def add(self, batch: list[Answer]) -> None:
        for answer in batch:
            if answer.probs is not None:
                self._mass += answer.probs

    def calibrate(self, probs: Any) -> Any:
        """The distribution ``(K,)`` without the bias that shows so far; None for None."""
        if probs is None:
            return None
        excess = self._mass / self._mass.sum() / self._target
        weighted = probs / np.maximum(excess, 1e-9) ** self._strength
        return weighted / weighted.sum()


def label_id_of(answer: Answer, calibrated: Any, label_ids: list[int]) -> int | None:
    """The label that an answer gives its row, or None (failed, unreadable)."""
    if answer.error:
        return None
    if calibrated is not None:
        return label_ids[int(calibrated.argmax())]
    return None if answer.label == NO_LABEL else label_ids[answer.label]


def calibrate_corpus(run: LabelingRun) -> None:
    """Remove the class bias over all answers at once, and set the rows' LLM labels from the result.

    Answers that were kept from an earlier round were calibrated there, over the whole corpus, and stay as they are.
    Distributions that two answers to one row gave, or a stated confidence, or that a row like a prompt got, hold no bias to
    remove, and their rows are no fair sample; they are only made as sure as checked rows show them to be.
    Repeating it gives the same labels. A run that stops here goes on behind the rows that it wrote.

    Raises:
        StoppedError: a person asked to pause or cancel.
    """
    lease, progress, iteration = run.lease, run.progress, run.iteration
    _labels, label_ids = round_labels(iteration)
    stored = _stored_answers(iteration, label_ids)
    if not len(stored):
        return
    before = progress.detail.calibration
    run.begin_phase("calibration", steps=len(stored))
    calibrated = _calibrate(run, stored["probs"], stored["sample"], label_ids, biased=stored["biased"])
    # What an earlier attempt wrote stands if neither answers nor checked rows have changed since.
    written_rows = before.get("written", 0) if _chosen(before) == _chosen(progress.detail.calibration) else 0
    for start in range(written_rows, len(stored), WRITE_ROWS):
        if lease.should_stop():
            raise StoppedError
        part = slice(start, start + WRITE_ROWS)
        predictions, written = [], []
        keys = zip(stored["pk"][part].tolist(), stored["sample"][part].tolist(), strict=True)
        for (pk, sample_id), row in zip(keys, calibrated[part], strict=True):
            label_id = label_ids[int(row.argmax())]
            predictions.append((label_id, probs_text(row), pk))
            written.append(LlmLabel(sample_id, label_id, float(row.max())))
        with transaction.atomic():
            lease.fence()
            update_rows(Prediction, ("label_id", "calibrated"), predictions)
            Sample.objects.write_llm_labels(written, round_number=iteration.number)
            done = min(start + WRITE_ROWS, len(stored))
            told = progress.detail.calibration | {"written": done}
            progress.report(detail=replace(progress.detail, calibration=told, phase_done=done), force=True)


def _chosen(calibration: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in calibration.items() if name != "written"}


def _stored_answers(iteration: Iteration, label_ids: list[int]) -> Any:
    """The round's own answers that say how sure the model was: N records of ``pk``, ``sample``, ``probs (K,)``, and whether a
    bias is to be removed from them."""
    answers = Prediction.objects.filter(
        Q(probs__isnull=False) | Q(stated__isnull=False, label__in=label_ids),
        iteration=iteration,
        source=Prediction.ModelKind.LLM,
    ).exclude(origin=Prediction.Origin.EARLIER)
    columns = ("pk", "sample_id", "probs", "second_raw", "stated", "label_id", "sample__prompt_like")
    empty, place = [np.nan] * len(label_ids), {label_id: index for index, label_id in enumerate(label_ids)}
    stored = np.fromiter(
        (
            (
                pk,
                sample,
                probs or empty,
                bool(probs) and second is None and not prompt_like,
                stated,
                place.get(label, 0),
            )
            for pk, sample, probs, second, stated, label, prompt_like in answers.order_by("pk")
            .values_list(*columns)
            .iterator()
        ),
        dtype=[
            ("pk", np.int64),
            ("sample", np.int64),
            ("probs", np.float64, len(label_ids)),
            ("biased", np.bool_),
            ("stated", np.float64),
            ("label", np.int64),
        ],
    )
    rows = np.flatnonzero(np.isnan(stored["probs"][:, 0]))
    if len(rows):
        stored["probs"][rows] = spread_stated(stored["stated"][rows], stored["label"][rows], len(label_ids))
    return stored


def _calibrate(
    run: LabelingRun,
    probs: FloatArray,
    sample_ids: IntArray,
    label_ids: list[int],
    *,
    biased: BoolArray,
) -> FloatArray:
    """The distributions ``(N, K)`` without their bias, and as sure as rows that people checked show them to be.

    Only ``biased (N,)`` rows have a bias that is removed.

    Only rows that were drawn at random count as checked, each for as many as it stands for: those that people chose
    because they look wrong would make every answer look so.
    """
    checked = _checked_rows(run, label_ids)
    among_checked = np.flatnonzero(np.isin(sample_ids, [row.sample_id for row in checked]))
    place = {int(sample_ids[index]): int(index) for index in among_checked}
    target = target_shares(run.iteration)
    strength = run.config.calibration_strength
    among = np.cumsum(biased) - 1  # a row's place among the biased ones
    asked = [row for row in checked if row.sample_id in place and biased[place[row.sample_id]]]
    if len(asked) >= CHECKED_ROWS:
        strength = choose_strength(
            probs[biased],
            among[[place[row.sample_id] for row in asked]],
            np.array([row.label for row in asked]),
            np.array([row.weight for row in asked]),
            most=strength,
            target=target,
        )
    calibrated: FloatArray = probs.astype(np.float64)
    calibrated[biased] = calibrate_batch(probs[biased], strength=strength, target=target)
    temperature = 1.0
    if len(checked) >= CHECKED_ROWS:
        temperature = fit_temperature(
            np.array(
                [
                    calibrated[place[row.sample_id]] if row.sample_id in place else row.calibrated
                    for row in checked
                ]
            ),
            np.array([row.label for row in checked]),
            np.array([row.weight for row in checked]),
        )
        calibrated = apply_temperature(calibrated, temperature)
    answers = zlib.crc32(biased.tobytes(), zlib.crc32(probs.tobytes()))
    found = {
        "checked": len(checked),
        "strength": strength,
        "temperature": round(temperature, 3),
        "answers": answers,
    }
    run.progress.report(detail=replace(run.progress.detail, calibration=found), force=True)
    return calibrated


@dataclass(frozen=True, slots=True)
class _Checked:
    """A row that was drawn at random and answered blind, with what the LLM said of it in this round."""

    sample_id: int
    label: int
    weight: float
    calibrated: Any


def _checked_rows(run: LabelingRun, label_ids: list[int]) -> list[_Checked]:
    answers = blind_answers(run.project)
    draws = AuditDraw.objects.filter(project=run.project, sample__source=Source.PERSON)
    calibrated = dict(
        Prediction.objects.filter(
            iteration=run.iteration, source="llm", calibrated__isnull=False, sample__audit_draws__in=draws
        ).values_list("sample", "calibrated")
    )
    return [
        _Checked(draw.sample_id, label_ids.index(answer.label_id), draw.weight, calibrated[draw.sample_id])
        for draw in draws
        if (answer := answers.get(draw.sample_id))
        and answer.label_id in label_ids
        and draw.sample_id in calibrated
    ]
