"""Distil a small model from noisy labels, and say which labels are wrong: the step, from top to bottom.

The rows get features (``inputs.py``); a network is trained to survive wrong labels, the paper's way or a better one
(``training.py``); its predictions and other evidence are weighed against the LLM's word (``opinions.py``,
``combine.py``); and from the verdict follows what is shown of each row (``ranking.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlcore.config import DistillConfig, Method
from mlcore.corpus import Corpus, Distilled, NoisyLabels, Progress
from mlcore.messages import Message
from mlcore.records import NO_LABEL, FloatArray, IntArray
from mlcore.slm.cross_fit import Trained, train
from mlcore.slm.inputs import (
    Monitor,
    canonical_order,
    check_inputs,
    limited_threads,
    prepare,
    reorder,
    restore_order,
)
from mlcore.slm.noise import cross_entropy, split_clean, suspicion_rank
from mlcore.verdict.combine import Combined
from mlcore.verdict.opinions import Judges, decide
from mlcore.verdict.pooling import assign_folds
from mlcore.verdict.review_order import flag_rows, map_points, review_order, worth_a_look

VERIFIED_WEIGHT = 5.0


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
    hub_token: str = "",
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
        hub_token: the user's token for an encoder on the hub that is not public.
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
        corpus,
        config,
        noisy.count,
        cache_dir=cache_dir,
        weights_dir=weights_dir,
        hub_token=hub_token,
        monitor=monitor,
        order=order,
    )
    warnings += inputs.warnings
    folds = assign_folds(
        corpus.texts, known, min(config.folds or inputs.defaults.folds, len(corpus)), seed=config.seed
    )
    with limited_threads(inputs.defaults.threads):
        loop = replace(config, method=choose_method(config, corpus))
        trained = train(inputs, known, weights, folds, noisy.count, loop, monitor, checkpoint_dir)
        on_progress(Progress("combine", len(trained.history), config.epochs))
        warnings += trained.warnings
        judges = Judges(corpus, inputs, folds, noisy.count, config)
        quiet = Monitor(lambda progress: None, should_stop)
        verdict = decide(judges, trained.probs, noisy, known, weights, quiet)
    return restore_order(judge(noisy, known, inputs.features, trained, verdict, warnings, config), order)


def choose_method(config: DistillConfig, corpus: Corpus) -> Method:
    """How the network is trained: what the settings say; on a table the default takes AdaMatch's way.

    An MLP that keeps all rows of a table repeats their mistakes; one that learns from the clean rows and from its own sure
    guesses does not (Adult with 20 % wrong labels: 81.7 against 83.4 %).
    """
    return "adamatch" if config.method == "coral" and corpus.table is not None else config.method


def judge(
    noisy: NoisyLabels,
    known: IntArray,
    features: FloatArray,
    trained: Trained,
    verdict: Combined,
    warnings: list[Message],
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
    worth = worth_a_look(verdict.doubt, verdict.label)
    nobody = np.full_like(noisy.verified, NO_LABEL)
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
        order=review_order(worth, noisy.verified, features, seed=config.seed),
        machine_label=verdict.machine_label,
        machine_risk=verdict.machine_risk,
        machine_flag=flag_rows(noisy.given, nobody, prediction, verdict.machine_risk),
        history=trained.history,
        mixtures=split.mixtures,
        stopped=trained.stopped,
        warnings=warnings,
        evidence=verdict.measured,
    )
