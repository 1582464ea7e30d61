"""Distil a small model from noisy labels, and say which labels are wrong: the one loop, from top to bottom.

The paper's way (CORAL, PVLDB 17(12), 2024; after DivideMix, ICLR 2020, and FixMatch, NeurIPS 2020): some warm-up
epochs of plain cross-entropy on all labels; then, every epoch, a two-component Gaussian mixture on the losses parts
clean rows from noisy ones, and a FixMatch epoch trains on the clean ones as labelled and on the rest as unlabelled.
What differs here: every row is judged by a network that was not trained on its label (cross-fitting); the default method
has one mixture per class; and the verdict weighs other evidence too (``combine.py``).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from mlcore.combine import Combined, combine
from mlcore.config import DistillConfig
from mlcore.corpus import Corpus, Distilled, EpochReport, NoisyLabels, Phase, Progress
from mlcore.evidence import assign_folds, calibrate, logistic_probs, neighbour_votes, ngram_features, pool
from mlcore.inputs import Inputs, Monitor, canonical_order, check_inputs, prepare, reorder, restore_order
from mlcore.learner import Learner, Recipe, load_checkpoint, save_checkpoint
from mlcore.noise import cross_entropy, split_clean, suspicion_rank
from mlcore.ranking import flag_rows, map_points, review_order
from mlcore.records import NO_LABEL, FloatArray, IntArray

VERIFIED_WEIGHT = 5.0
WORD_STRENGTH = 2.0


def distill(
    corpus: Corpus,
    noisy: NoisyLabels,
    config: DistillConfig,
    *,
    on_progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
    cache_dir: Path,
    checkpoint_dir: Path | None = None,
    weights_dir: Path | None = None,
) -> Distilled:
    """Train on noisy labels and judge every row.

    Args:
        corpus: N rows, as texts and, for a tabular task, as columns.
        noisy: what the LLM and people said of them.
        config: network, method, epochs, seed.
        on_progress: told of every batch.
        should_stop: asked after every batch; True ends the run with StoppedError.
        cache_dir: where features of texts are kept between runs.
        weights_dir: the operator's model folder, under which ``config.encoder`` may name a folder.
        checkpoint_dir: where each epoch is kept; a run with the same inputs goes on from there to the same result.

    Returns:
        The verdicts, in the order of the corpus. A permutation of the rows permutes the result and changes nothing
        else, up to rounding of the features.

    Raises:
        InvalidInputError: nothing can be learned: fewer than two rows or labels, no readable label, wrong shapes.
        StoppedError: ``should_stop`` said so.
    """
    warnings = check_inputs(corpus, noisy, config)
    monitor = Monitor(on_progress, should_stop)
    order = canonical_order(corpus, noisy)
    corpus, noisy = reorder(corpus, noisy, order)
    known = np.where(noisy.verified != NO_LABEL, noisy.verified, noisy.given)
    weights = np.where(noisy.verified != NO_LABEL, VERIFIED_WEIGHT, 1.0)
    inputs = prepare(
        corpus, config, noisy.count, cache_dir=cache_dir, weights_dir=weights_dir, monitor=monitor
    )
    folds = assign_folds(
        corpus.texts, known, min(config.folds or inputs.folds, len(corpus)), seed=config.seed
    )
    trained = train(inputs, known, weights, folds, noisy.count, config, monitor, checkpoint_dir)
    on_progress(Progress("combine", len(trained.history), config.epochs))
    first, second = gather_views(corpus, inputs, trained.probs, known, weights, folds, noisy.count)
    verdict = combine(first, second, noisy.given, noisy.verified)
    return restore_order(judge(noisy, known, inputs.features, trained, verdict, warnings, config), order)


def gather_views(
    corpus: Corpus,
    inputs: Inputs,
    probs: FloatArray,
    known: IntArray,
    weights: FloatArray,
    folds: IntArray,
    count: int,
) -> tuple[FloatArray, FloatArray]:
    """Two opinions from different sources: on the encoder's features (or the table's columns), and on the n-grams."""
    labelled = known != NO_LABEL
    votes = neighbour_votes(inputs.features, known, labelled, folds, count)
    first = calibrate(pool([calibrate(view, known, labelled) for view in (probs, votes)]), known, labelled)
    matrices = [ngram_features(corpus.texts, analyzer) for analyzer in ("word", "char")]
    others = [
        calibrate(
            logistic_probs(matrix, known, labelled, folds, count, weights=weights, strength=WORD_STRENGTH),
            known,
            labelled,
        )
        for matrix in matrices
        if matrix is not None
    ]
    return first, calibrate(pool(others), known, labelled) if others else first


def judge(
    noisy: NoisyLabels,
    known: IntArray,
    features: FloatArray,
    trained: Trained,
    verdict: Combined,
    warnings: list[str],
    config: DistillConfig,
) -> Distilled:
    """Everything that is shown of a row, from the verdict."""
    labelled, checked = known != NO_LABEL, noisy.verified != NO_LABEL
    losses = np.full(len(known), np.nan)
    losses[labelled] = cross_entropy(verdict.student[labelled], known[labelled])
    split = split_clean(losses[labelled], known[labelled], noisy.count, threshold=config.clean_threshold)
    clean_prob = np.zeros(len(known))
    clean_prob[labelled] = split.prob
    clean_prob[checked] = 1.0
    prediction = verdict.student.argmax(axis=1)
    return Distilled(
        probs=verdict.student,
        prediction=prediction,
        confidence=verdict.student.max(axis=1),
        losses=losses,
        clean_prob=clean_prob,
        rank=suspicion_rank(clean_prob, losses),
        features=features,
        points=map_points(features),
        label=verdict.label,
        risk=verdict.risk,
        flag=flag_rows(noisy.given, noisy.verified, prediction, verdict.risk),
        order=review_order(verdict.risk, noisy.verified, features, seed=config.seed),
        history=trained.history,
        mixtures=split.mixtures,
        stopped=trained.stopped,
        warnings=warnings,
        evidence=verdict.measured,
    )


@dataclass
class Trained:
    probs: FloatArray  # (N, K), out of fold
    losses: FloatArray  # (N,)
    history: list[EpochReport] = field(default_factory=list)
    stopped: str = ""


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
    """The loop: cross-fitted networks, epoch by epoch."""
    recipe = Recipe(
        batch_size=config.batch_size,
        learning_rate=config.learning_rate or inputs.learning_rate,
        weight_decay=inputs.weight_decay,
        pseudo_threshold=0.95,
        unlabelled_weight=1.0,
    )
    numbers = [int(fold) for fold in np.unique(folds)]
    learners = [Learner(inputs.build, recipe, config.seed * 1000 + number) for number in numbers]
    labelled = known != NO_LABEL
    targets = np.eye(count)[np.maximum(known, 0)]  # (N, K)
    trained = Trained(np.full((len(known), count), 1.0 / count), np.full(len(known), np.nan))
    checkpoint = None if checkpoint_dir is None else checkpoint_dir / "last.safetensors"
    identity = fingerprint(inputs, known, weights, folds, config)
    if checkpoint is not None and (notes := load_checkpoint(checkpoint, learners, identity)) is not None:
        trained.history = [EpochReport(**report) for report in notes["history"]]
        trained.stopped = notes["stopped"]
        predict_out_of_fold(trained, learners, numbers, folds)
    for epoch in range(len(trained.history), config.epochs):
        if trained.stopped:
            break
        begun = time.monotonic()
        robust = config.method != "plain" and epoch >= config.warmup_epochs
        phase: Phase = "robust" if robust else "warm-up"
        kept = np.zeros(len(known), dtype=bool)
        sums = []
        for place, (number, learner) in enumerate(zip(numbers, learners, strict=True)):
            rows = np.flatnonzero((folds != number) & labelled)
            clean, rest = rows, rows[:0]
            if robust and len(rows):
                losses = cross_entropy(learner.predict(rows), known[rows])
                split = split_clean(
                    losses,
                    known[rows],
                    count,
                    threshold=config.clean_threshold,
                    per_class=config.method != "paper",
                )
                keep = split.clean | (weights[rows] > 1.0)
                clean = rows[keep]
                rest = np.flatnonzero((folds != number) & ~np.isin(np.arange(len(known)), clean))
            kept[clean] = True

            share = float(kept.sum() / max(labelled.sum(), 1))
            at = Progress(phase, epoch + 1, config.epochs, place, len(numbers), clean_share=share)
            if len(clean):
                sums.append(
                    learner.train_epoch(targets, weights, clean, rest, partial(monitor.report_batch, at))
                )
        before = trained.probs.argmax(axis=1)
        predict_out_of_fold(trained, learners, numbers, folds)
        trained.losses[labelled] = cross_entropy(trained.probs[labelled], known[labelled])
        trained.history.append(
            EpochReport(
                epoch=epoch + 1,
                phase=phase,
                loss=float(np.mean([s.labelled for s in sums])) if sums else 0.0,
                loss_unlabelled=float(np.mean([s.unlabelled for s in sums])) if sums else 0.0,
                clean_share=float(kept[labelled].mean()),
                changes=float((trained.probs.argmax(axis=1) != before).mean()),
                fit=float(-trained.losses[labelled].mean()),
                balance=class_shares(known[labelled], count),
                clean_balance=class_shares(known[kept], count),
                seconds=time.monotonic() - begun,
            )
        )
        trained.stopped = why_stop(trained.history, config)
        if checkpoint is not None:
            notes = {"history": [asdict(report) for report in trained.history], "stopped": trained.stopped}
            save_checkpoint(checkpoint, learners, identity, notes)
    trained.stopped = trained.stopped or f"All {config.epochs} epochs were trained."
    return trained


def predict_out_of_fold(
    trained: Trained, learners: list[Learner], numbers: list[int], folds: IntArray
) -> None:
    for number, learner in zip(numbers, learners, strict=True):
        rows = np.flatnonzero(folds == number)
        trained.probs[rows] = learner.predict(rows)


def fingerprint(
    inputs: Inputs, known: IntArray, weights: FloatArray, folds: IntArray, config: DistillConfig
) -> str:
    """A hash of everything that training depends on; a checkpoint of other inputs is not resumed."""
    digest = hashlib.sha256(repr(sorted(config.as_dict().items())).encode())
    for array in (inputs.features, known, weights, folds):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def class_shares(labels: IntArray, count: int) -> list[float]:
    counts = np.bincount(labels, minlength=count)
    return [float(share) for share in counts / max(counts.sum(), 1)]


def why_stop(history: list[EpochReport], config: DistillConfig) -> str:
    """Why training has converged, or an empty string: predictions no longer change, judged without reference labels."""
    robust = [report for report in history if report.epoch > config.warmup_epochs]
    if len(robust) < 3:
        return ""
    if all(report.changes < 0.002 for report in robust[-2:]):
        return f"Converged after epoch {history[-1].epoch}: fewer than 0.2 % of the predictions still change."
    return ""
