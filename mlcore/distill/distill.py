"""Distil a small model from noisy labels, and say which labels are wrong: the step, from top to bottom.

The rows get features (``slm/inputs.py``); networks are trained to survive wrong labels (``slm/cross_fit.py``); the label model
weighs their predictions and other opinions against the LLM's vote (``verdict/``); and from the verdict follows what
is shown of each row (``results.py``). With ``method="paper"`` the networks alone decide. A model that is fitted to the final
labels is kept (``classifier/``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlcore.classifier.classifier import About
from mlcore.classifier.fit import fit_classifier
from mlcore.config import DistillConfig, Method
from mlcore.corpus import Corpus, Distilled, NoisyLabels, Progress
from mlcore.distill.results import RowsNow, label_model_result, network_result, rows_now
from mlcore.records import NO_LABEL, FloatArray
from mlcore.slm.cross_fit import Trained, assign_folds, train
from mlcore.slm.inputs import (
    FINETUNE,
    Inputs,
    Monitor,
    canonical_order,
    check_inputs,
    limited_threads,
    prepare,
    reorder,
    restore_order,
)
from mlcore.verdict.decide import decide_table, decide_texts
from mlcore.verdict.opinions import CrossFitter

VERIFIED_WEIGHT = 5.0  # in training, of a row that a person checked. Not varied.


def distill_labels(
    corpus: Corpus,
    noisy: NoisyLabels,
    config: DistillConfig,
    *,
    cache_dir: Path,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_epoch: Callable[[RowsNow], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoint_dir: Path | None = None,
    weights_dir: Path | None = None,
    hub_token: str = "",
    about: About | None = None,
    model_dir: Path | None = None,
) -> Distilled:
    """Train on noisy labels and judge every row.

    Args:
        corpus: N rows, as texts and, for a tabular task, as columns.
        noisy: what the LLM and people said of them.
        config: network, method, epochs, seed.
        cache_dir: where features of texts are kept between runs.
        on_progress: told of every batch.
        on_epoch: told after every epoch what the networks say of the rows by then.
        should_stop: asked after every batch; True ends the run with StoppedError.
        checkpoint_dir: where each epoch is kept; a run with the same inputs goes on from there to the same result.
        weights_dir: the operator's model folder, under which ``config.encoder`` may name a folder.
        hub_token: the user's token for an encoder on the hub that is not public.
        about: label names, task and columns of the model that is to be kept; None keeps none.
        model_dir: where it is kept, see :class:`mlcore.classifier.classifier.Classifier`.

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
    inputs = prepare(
        corpus,
        config,
        noisy.count,
        cache_dir=cache_dir,
        weights_dir=weights_dir,
        hub_token=hub_token,
        monitor=monitor,
    )
    if on_epoch:
        monitor.on_epoch = lambda probs: on_epoch(rows_now(probs, noisy, inputs.points, config, order))
    with limited_threads(inputs.defaults.threads):
        result, trained, weights = run_method(corpus, noisy, config, inputs, monitor, checkpoint_dir)
        if about is not None and model_dir is not None:
            result = keep_model(result, trained, weights, corpus, config, inputs, monitor, about, model_dir)
    result.warnings[:0] = [*warnings, *inputs.warnings]
    return restore_order(result, order)


def run_method(
    corpus: Corpus,
    noisy: NoisyLabels,
    config: DistillConfig,
    inputs: Inputs,
    monitor: Monitor,
    checkpoint_dir: Path | None = None,
) -> tuple[Distilled, Trained, FloatArray]:
    """Train by the method of the settings and judge every row; arguments as for :func:`distill_labels`.

    Returns:
        The verdicts, the trained networks, and how much each row counted in training, ``(N,)``.
    """
    weights = np.where(noisy.verified != NO_LABEL, VERIFIED_WEIGHT, 1.0)
    fold_count = min(config.folds or inputs.defaults.folds, len(corpus))
    folds = assign_folds(corpus.texts, noisy.known, fold_count, seed=config.seed)
    training = replace(config, method=choose_method(config, corpus))
    trained = train(inputs, noisy.known, weights, folds, noisy.count, training, monitor, checkpoint_dir)
    if config.method == "paper":
        return network_result(trained, noisy, inputs, config), trained, weights
    monitor.on_progress(Progress("verdict", len(trained.history), config.epochs))
    quiet = Monitor(lambda progress: None, monitor.should_stop)
    fitter = CrossFitter(corpus, inputs, folds, noisy.count, config, quiet)
    decide = decide_texts if corpus.table is None else decide_table
    verdict = decide(fitter, trained.probs, noisy, weights)
    return label_model_result(verdict, trained, noisy, inputs, config), trained, weights


def keep_model(
    result: Distilled,
    trained: Trained,
    weights: FloatArray,
    corpus: Corpus,
    config: DistillConfig,
    inputs: Inputs,
    monitor: Monitor,
    about: About,
    folder: Path,
) -> Distilled:
    """Fit a model to the final labels and save it; the result with what it says of each row out of fold."""
    monitor.on_progress(Progress("model", len(trained.history), config.epochs))
    fitted = fit_classifier(
        corpus,
        inputs,
        result.label,
        result.risk,
        weights,
        replace(config, epochs=len(trained.history)),
        about,
        Monitor(lambda progress: None, monitor.should_stop),
        # A whole encoder is too costly to train on two more halves; what the run's own say of each other's half stands for it.
        network=trained.probs if inputs.defaults is FINETUNE else None,
    )
    fitted.classifier.save(folder)
    return replace(result, kept_label=fitted.out_of_fold.argmax(axis=1))


def choose_method(config: DistillConfig, corpus: Corpus) -> Method:
    """How the network is trained: what the settings say; on a table the default takes AdaMatch's way.

    An MLP that keeps all rows of a table repeats their mistakes; one that learns from the clean rows and from its own sure
    guesses does not (Adult with 20 % wrong labels: 81.7 against 83.4 %).
    """
    return "adamatch" if config.method == "coral" and corpus.table is not None else config.method
