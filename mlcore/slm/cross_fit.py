"""Networks trained on labels of which some are wrong, every row judged by one that did not train on its label.

The paper's way (CORAL, PVLDB 17(12), 2024; after DivideMix, ICLR 2020, and FixMatch, NeurIPS 2020): some warm-up
epochs of plain cross-entropy on all labels; then, every epoch, a two-component Gaussian mixture on the losses parts
clean rows from noisy ones, and a FixMatch epoch trains on the clean ones as labelled and on the rest as unlabelled.
The default method has one mixture per class instead and keeps every row, weighted by its clean probability.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from mlcore.config import DistillConfig, Method
from mlcore.corpus import EpochReport, Phase, Progress
from mlcore.errors import InvalidInputError
from mlcore.messages import Message
from mlcore.probabilities import cross_entropy
from mlcore.records import NO_LABEL, BoolArray, FloatArray, IntArray, class_shares
from mlcore.slm.fixmatch import (
    EpochLosses,
    EpochRows,
    Learner,
    TrainingConfig,
    load_checkpoint,
    save_checkpoint,
)
from mlcore.slm.heads import PIECE
from mlcore.slm.inputs import Inputs, Monitor
from mlcore.slm.noise import CleanSplit, split_clean

LEAST_WEIGHT = 0.1  # of a row that is surely noisy. Not varied.
STILL_CHANGING = 0.002  # share of the predictions that change in an epoch; below it training has converged


@dataclass
class Trained:
    """``probs (N, K)`` and ``losses (N,)``, both out of fold; the epochs, why they ended, and the networks by fold."""

    probs: FloatArray
    losses: FloatArray
    history: list[EpochReport] = field(default_factory=list)
    stopped: Message | None = None
    learners: list[Learner] = field(default_factory=list)

    @property
    def warnings(self) -> list[Message]:
        skipped = sum(report.skipped for report in self.history)
        if skipped == 0:
            return []
        return [Message("skipped_batches", {"count": skipped})]


def assign_folds(texts: Sequence[str], labels: IntArray, count: int, *, seed: int) -> IntArray:
    """A fold for each row: copies of a text share one, classes are spread evenly, the order of rows is irrelevant."""
    keys = [hashlib.sha256(f"{seed}:{text}".encode()).hexdigest() for text in texts]
    first: dict[str, int] = {}
    for row in np.lexsort((labels, np.array(keys))):
        first.setdefault(keys[row], int(labels[row]))
    by_class = sorted(first, key=lambda key: (first[key], key))
    folds = {key: rank % count for rank, key in enumerate(by_class)}
    return np.array([folds[key] for key in keys], dtype=np.int64)


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
    trained.learners = networks.learners
    checkpoint = None if checkpoint_dir is None else checkpoint_dir / "last.pt"
    identity = fingerprint(inputs, known, weights, folds, config)
    if checkpoint and (notes := load_checkpoint(checkpoint, networks.learners, identity)) is not None:
        trained.history = [EpochReport(**report) for report in notes["history"]]
        trained.stopped = notes["stopped"] and Message.of(notes["stopped"])
        trained.probs = networks.predict_out_of_fold()
    for epoch in range(len(trained.history), config.epochs):
        if trained.stopped:
            break
        networks.train_epoch(epoch, trained, monitor)
        monitor.on_epoch(trained.probs)
        trained.stopped = why_stop(trained.history, config)
        if checkpoint:
            notes = {
                "history": [asdict(report) for report in trained.history],
                "stopped": trained.stopped and trained.stopped.as_json(),
            }
            save_checkpoint(checkpoint, networks.learners, identity, notes)
    trained.losses[networks.labelled] = networks.losses(trained.probs)
    trained.stopped = trained.stopped or Message("all_epochs", {"epochs": config.epochs})
    return trained


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
        training = TrainingConfig(
            config.batch_size,
            config.learning_rate or defaults.learning_rate,
            defaults.ridge,
            average=defaults.average,
            adaptive=config.method == "adamatch",
        )
        self.known, self.weights, self.folds, self.count, self.config = known, weights, folds, count, config
        self.numbers = [int(fold) for fold in np.unique(folds)]
        self.learners = [
            Learner(inputs.build, training, config.seed * 1000 + number) for number in self.numbers
        ]
        self.labelled = known != NO_LABEL
        self.targets = np.eye(count)[np.maximum(known, 0)]  # (N, K)

    def phase(self, epoch: int) -> Phase:
        robust = self.config.method != "plain" and epoch >= self.config.warmup_epochs
        return "robust" if robust else "warm-up"

    def train_epoch(self, epoch: int, trained: Trained, monitor: Monitor) -> None:
        """Train every network once, predict all rows anew, and add the epoch's report."""
        begun = time.monotonic()
        clean = self.labelled.copy()
        losses: list[EpochLosses] = []
        for index, (number, learner) in enumerate(zip(self.numbers, self.learners, strict=True)):
            others = (self.folds != number) | (self.config.folds == 1)  # one fold: a network on all rows
            if not (others & self.labelled).any():
                continue
            rows = self.choose_rows(epoch, learner, others, clean)
            at = Progress(self.phase(epoch), epoch + 1, self.config.epochs, index, len(self.numbers))
            at = replace(at, clean_share=float(clean[self.labelled].mean()))
            report = partial(monitor.report_batch, at)
            factor = 1.0 - epoch / self.config.epochs
            losses.append(learner.train_epoch(self.targets, rows, lr_factor=factor, on_batch=report))
        before = trained.probs.argmax(axis=1)
        trained.probs = self.predict_out_of_fold()
        refuse_divergence(losses, trained.probs, epoch)
        trained.history.append(
            EpochReport(
                epoch=epoch + 1,
                phase=self.phase(epoch),
                loss=float(np.mean([network.labelled for network in losses] or 0.0)),
                loss_unlabelled=float(np.mean([network.unlabelled for network in losses] or 0.0)),
                clean_share=float(clean[self.labelled].mean()),
                changes=float((trained.probs.argmax(axis=1) != before).mean()),
                fit=float(-self.losses(trained.probs).mean()),
                balance=class_shares(self.known[self.labelled], self.count).tolist(),
                clean_balance=class_shares(self.known[clean], self.count).tolist(),
                seconds=time.monotonic() - begun,
                skipped=sum(network.skipped for network in losses),
            )
        )

    def choose_rows(self, epoch: int, learner: Learner, others: BoolArray, clean: BoolArray) -> EpochRows:
        """What a network learns from in an epoch, of the rows ``others (N,)``; marks in ``clean (N,)`` what it takes as noisy."""
        rows = np.flatnonzero(others & self.labelled)
        if self.phase(epoch) == "warm-up":
            return EpochRows(rows, rows[:0], self.weights)
        split = split_clean(
            cross_entropy(learner.predict(rows), self.known[rows]),
            self.known[rows],
            self.count,
            threshold=self.config.clean_threshold,
            per_class=self.config.method != "paper",
        )
        clean[rows] &= split.clean | (self.weights[rows] > 1.0)
        return rows_by_method(rows, np.flatnonzero(others), split, self.weights, self.config.method)

    def predict_out_of_fold(self) -> FloatArray:
        probs = np.empty((len(self.known), self.count))
        for number, learner in zip(self.numbers, self.learners, strict=True):
            rows = np.flatnonzero(self.folds == number)
            probs[rows] = learner.predict(rows)
        return probs

    def losses(self, probs: FloatArray) -> FloatArray:
        """Cross-entropy of all rows with a label, in their order."""
        return cross_entropy(probs[self.labelled], self.known[self.labelled])


def refuse_divergence(losses: list[EpochLosses], probs: FloatArray, epoch: int) -> None:
    """Raise InvalidInputError where a network took no step at all, or predicts what is no number."""
    if np.isfinite(probs).all() and all(network.skipped < network.batches for network in losses):
        return
    raise InvalidInputError("diverged", epoch=epoch + 1)


def rows_by_method(
    rows: IntArray, allowed: IntArray, split: CleanSplit, weights: FloatArray, method: Method
) -> EpochRows:
    """What a network learns from, given a split of its labelled ``rows (R,)`` among all ``allowed`` ones.

    ``paper`` and ``adamatch``: clean rows are labelled, all other rows are unlabelled. ``coral``: every labelled row
    stays, weighted by its clean probability. Rows that a person checked are always labelled, with their own weight.
    """
    if method in ("paper", "adamatch"):
        labelled = rows[split.clean | (weights[rows] > 1.0)]
        return EpochRows(labelled, np.setdiff1d(allowed, labelled), weights)
    # Dropping a third of the rows costs more than their noise.
    return EpochRows(rows, rows[:0], weigh_by_clean_prob(weights, rows, split.prob))


def weigh_by_clean_prob(weights: FloatArray, rows: IntArray, clean_prob: FloatArray) -> FloatArray:
    """The weights ``(N,)`` with those of ``rows (R,)`` scaled by their clean probability ``(R,)``.

    Rows that a person checked keep theirs, and no row falls below ``LEAST_WEIGHT`` of its own.
    """
    scaled = weights.copy()
    factor = LEAST_WEIGHT + (1.0 - LEAST_WEIGHT) * clean_prob
    scaled[rows] *= np.where(weights[rows] > 1.0, 1.0, factor)
    return scaled


def fingerprint(
    inputs: Inputs, known: IntArray, weights: FloatArray, folds: IntArray, config: DistillConfig
) -> str:
    """A hash of everything that training depends on; a checkpoint of other inputs is not resumed."""
    digest = hashlib.sha256(repr(sorted(config.as_dict().items())).encode())
    for array in (inputs.features, known, weights, folds):
        for start in range(0, len(array), PIECE):
            digest.update(array[start : start + PIECE].tobytes())
    return digest.hexdigest()


def why_stop(history: list[EpochReport], config: DistillConfig) -> Message | None:
    """Why training has converged, None while it has not: predictions no longer change, judged without reference labels."""
    robust = [report for report in history if report.epoch > config.warmup_epochs]
    if len(robust) < 3:
        return None
    if all(report.changes < STILL_CHANGING for report in robust[-2:]):
        return Message("converged", {"epoch": history[-1].epoch})
    return None
