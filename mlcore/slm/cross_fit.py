"""The loop: cross-fitted networks, trained epoch by epoch on labels of which some are wrong.

The paper's way (CORAL, PVLDB 17(12), 2024; after DivideMix, ICLR 2020, and FixMatch, NeurIPS 2020): some warm-up
epochs of plain cross-entropy on all labels; then, every epoch, a two-component Gaussian mixture on the losses parts
clean rows from noisy ones, and a FixMatch epoch trains on the clean ones as labelled and on the rest as unlabelled.
What differs here: every row is judged by a network that was not trained on its label (cross-fitting), and the default
method has one mixture per class and keeps every row, weighted by its clean probability.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from mlcore.config import DistillConfig, Method
from mlcore.corpus import EpochReport, Phase, Progress
from mlcore.errors import InvalidInputError
from mlcore.messages import Message
from mlcore.records import NO_LABEL, BoolArray, FloatArray, IntArray, class_shares
from mlcore.slm.fixmatch import EpochLosses, Learner, Recipe, load_checkpoint, save_checkpoint
from mlcore.slm.inputs import Inputs, Monitor
from mlcore.slm.noise import CleanSplit, cross_entropy, split_clean

LEAST_WEIGHT = 0.1  # of a row that is surely noisy


@dataclass
class Trained:
    """``probs (N, K)`` and ``losses (N,)``, both out of fold; the epochs, and why they ended."""

    probs: FloatArray
    losses: FloatArray
    history: list[EpochReport] = field(default_factory=list)
    stopped: Message | None = None

    @property
    def warnings(self) -> list[Message]:
        skipped = sum(report.skipped for report in self.history)
        if skipped == 0:
            return []
        return [Message("skipped_batches", {"count": skipped})]


@dataclass(frozen=True)
class Lesson:
    """What one network learns from in one epoch: row numbers, and ``weights (N,)`` of the labelled ones."""

    labelled: IntArray
    unlabelled: IntArray
    weights: FloatArray


def train(
    inputs: Inputs,
    known: IntArray,
    weights: FloatArray,
    folds: IntArray,
    count: int,
    config: DistillConfig,
    monitor: Monitor,
    checkpoint_dir: Path | None,
) -> Trained:
    """Train one network per fold on the other folds, and predict each fold by its own network.

    Args:
        inputs: what the networks see.
        known: ``(N,)``, labels to learn from, ``NO_LABEL`` where there is none.
        weights: ``(N,)``, how much each counts; above 1 for rows that a person checked.
        folds: ``(N,)``.
        count: number of labels, K.
        config: method, epochs, seed.
        monitor: told of every batch; may raise to stop.
        checkpoint_dir: where each epoch is kept and resumed from; None keeps none.

    Raises:
        InvalidInputError: the training went astray, see :func:`refuse_divergence`.
    """
    networks = CrossFitted(inputs, known, weights, folds, count, config)
    trained = Trained(np.full((len(known), count), 1.0 / count), np.full(len(known), np.nan))
    checkpoint = None if checkpoint_dir is None else checkpoint_dir / "last.safetensors"
    identity = fingerprint(inputs, known, weights, folds, config)
    if (
        checkpoint is not None
        and (notes := load_checkpoint(checkpoint, networks.learners, identity)) is not None
    ):
        trained.history = [EpochReport(**report) for report in notes["history"]]
        trained.stopped = notes["stopped"] and Message.of(notes["stopped"])
        trained.probs = networks.predict_out_of_fold()
    for epoch in range(len(trained.history), config.epochs):
        if trained.stopped:
            break
        begun = time.monotonic()
        done = networks.train_epoch(epoch, monitor)
        before = trained.probs.argmax(axis=1)
        trained.probs = networks.predict_out_of_fold()
        refuse_divergence(done, trained.probs, epoch)
        trained.losses[networks.labelled] = cross_entropy(
            trained.probs[networks.labelled], known[networks.labelled]
        )
        changes = float((trained.probs.argmax(axis=1) != before).mean())
        trained.history.append(
            networks.report(epoch, done, trained.losses, changes, time.monotonic() - begun)
        )
        trained.stopped = why_stop(trained.history, config)
        if checkpoint is not None:
            notes = {
                "history": [asdict(report) for report in trained.history],
                "stopped": trained.stopped and trained.stopped.as_json(),
            }
            save_checkpoint(checkpoint, networks.learners, identity, notes)
    trained.stopped = trained.stopped or Message("all_epochs", {"epochs": config.epochs})
    return trained


@dataclass(frozen=True)
class EpochDone:
    """Which rows every network took as clean ``(N,)``, and the networks' mean losses."""

    clean: BoolArray
    losses: list[EpochLosses]


class CrossFitted:
    """One network per fold, each trained on the labels of all other folds."""

    def __init__(
        self,
        inputs: Inputs,
        known: IntArray,
        weights: FloatArray,
        folds: IntArray,
        count: int,
        config: DistillConfig,
    ) -> None:
        defaults = inputs.defaults
        rate = config.learning_rate or defaults.learning_rate
        recipe = Recipe(
            config.batch_size,
            rate,
            defaults.ridge,
            average=defaults.average,
            adaptive=config.method == "adamatch",
        )
        self.known, self.weights, self.folds, self.count, self.config = known, weights, folds, count, config
        self.numbers = [int(fold) for fold in np.unique(folds)]
        self.learners = [
            Learner(inputs.build, recipe, config.seed * 1000 + number) for number in self.numbers
        ]
        self.labelled = known != NO_LABEL
        self.targets = np.eye(count)[np.maximum(known, 0)]  # (N, K)

    def phase(self, epoch: int) -> Phase:
        robust = self.config.method != "plain" and epoch >= self.config.warmup_epochs
        return "robust" if robust else "warm-up"

    def train_epoch(self, epoch: int, monitor: Monitor) -> EpochDone:
        clean = self.labelled.copy()
        losses: list[EpochLosses] = []
        for place, (number, learner) in enumerate(zip(self.numbers, self.learners, strict=True)):
            others = self.folds != number
            rows = np.flatnonzero(others & self.labelled)
            if len(rows) == 0:
                continue
            lesson = Lesson(rows, rows[:0], self.weights)
            if self.phase(epoch) == "robust":
                split = self._split(learner, rows)
                lesson = plan_lesson(rows, np.flatnonzero(others), split, self.weights, self.config.method)
                clean[rows] &= split.clean | (self.weights[rows] > 1.0)
            at = Progress(
                self.phase(epoch),
                epoch + 1,
                self.config.epochs,
                place,
                len(self.numbers),
                clean_share=float(clean[self.labelled].mean()),
            )
            done = learner.train_epoch(
                self.targets,
                lesson.weights,
                lesson.labelled,
                lesson.unlabelled,
                pace=1.0 - epoch / self.config.epochs,
                on_batch=partial(monitor.report_batch, at),
            )
            losses.append(done)
        return EpochDone(clean, losses)

    def _split(self, learner: Learner, rows: IntArray) -> CleanSplit:
        return split_clean(
            cross_entropy(learner.predict(rows), self.known[rows]),
            self.known[rows],
            self.count,
            threshold=self.config.clean_threshold,
            per_class=self.config.method != "paper",
        )

    def predict_out_of_fold(self) -> FloatArray:
        probs = np.empty((len(self.known), self.count))
        for number, learner in zip(self.numbers, self.learners, strict=True):
            rows = np.flatnonzero(self.folds == number)
            probs[rows] = learner.predict(rows)
        return probs

    def report(
        self, epoch: int, done: EpochDone, losses: FloatArray, changes: float, seconds: float
    ) -> EpochReport:
        return EpochReport(
            epoch=epoch + 1,
            phase=self.phase(epoch),
            loss=float(np.mean([each.labelled for each in done.losses] or 0.0)),
            loss_unlabelled=float(np.mean([each.unlabelled for each in done.losses] or 0.0)),
            clean_share=float(done.clean[self.labelled].mean()),
            changes=changes,
            fit=float(-losses[self.labelled].mean()),
            balance=list(class_shares(self.known[self.labelled], self.count)),
            clean_balance=list(class_shares(self.known[done.clean], self.count)),
            seconds=seconds,
            skipped=sum(each.skipped for each in done.losses),
        )


def refuse_divergence(done: EpochDone, probs: FloatArray, epoch: int) -> None:
    """Raise InvalidInputError where a network took no step at all, or predicts what is no number: it has learned nothing,
    and would judge every row all the same."""
    if np.isfinite(probs).all() and all(each.skipped < each.batches for each in done.losses):
        return
    raise InvalidInputError("diverged", epoch=epoch + 1)


def plan_lesson(
    rows: IntArray, allowed: IntArray, split: CleanSplit, weights: FloatArray, method: Method
) -> Lesson:
    """Turn a clean split into a lesson.

    ``paper`` and ``adamatch``: clean rows are labelled, all other rows are unlabelled. ``coral``: every labelled row
    stays, weighted by the probability that it is clean: dropping a third of the rows costs more than their noise. Rows
    that a person checked are always labelled, with their own weight.
    """
    checked = weights[rows] > 1.0
    if method in ("paper", "adamatch"):
        labelled = rows[split.clean | checked]
        return Lesson(labelled, np.setdiff1d(allowed, labelled), weights)
    return Lesson(rows, rows[:0], weigh_by_trust(weights, rows, split.prob))


def weigh_by_trust(weights: FloatArray, rows: IntArray, clean_prob: FloatArray) -> FloatArray:
    """The weights ``(N,)`` with those of ``rows (R,)`` scaled by their clean probability ``(R,)``.

    Rows that a person checked keep theirs, and no row falls below ``LEAST_WEIGHT`` of its own.
    """
    scaled = weights.copy()
    trust = LEAST_WEIGHT + (1.0 - LEAST_WEIGHT) * clean_prob
    scaled[rows] *= np.where(weights[rows] > 1.0, 1.0, trust)
    return scaled


def fingerprint(
    inputs: Inputs, known: IntArray, weights: FloatArray, folds: IntArray, config: DistillConfig
) -> str:
    """A hash of everything that training depends on; a checkpoint of other inputs is not resumed."""
    digest = hashlib.sha256(repr(sorted(config.as_dict().items())).encode())
    for array in (inputs.features, known, weights, folds):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def why_stop(history: list[EpochReport], config: DistillConfig) -> Message | None:
    """Why training has converged, None while it has not: predictions no longer change, judged without reference labels."""
    robust = [report for report in history if report.epoch > config.warmup_epochs]
    if len(robust) < 3:
        return None
    if all(report.changes < 0.002 for report in robust[-2:]):
        return Message("converged", {"epoch": history[-1].epoch})
    return None
