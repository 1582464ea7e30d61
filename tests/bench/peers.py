"""What the quality bench compares with: confident learning, and the plain and the published loop on their own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mlcore.config import DistillConfig
from mlcore.corpus import Corpus, NoisyLabels
from mlcore.distill.distill import distill_labels
from mlcore.records import NO_LABEL, BoolArray, FloatArray, IntArray
from mlcore.slm.cross_fit import assign_folds, train
from mlcore.slm.inputs import Monitor, limited_threads, prepare
from mlcore.verdict.classifiers import logistic_probs


def network_probs(
    corpus: Corpus, given: IntArray, count: int, config: DistillConfig, cache_dir: Path
) -> FloatArray:
    """Out-of-fold probabilities (N, K) of the network alone, without other opinions and without a verdict."""
    if config.method == "paper":
        labels = NoisyLabels(given, None, np.full(len(given), NO_LABEL), count)
        return distill_labels(corpus, labels, config, cache_dir=cache_dir).probs
    monitor = Monitor(lambda progress: None, lambda: False)
    inputs = prepare(corpus, config, count, cache_dir=cache_dir, weights_dir=None, monitor=monitor)
    folds = assign_folds(corpus.texts, given, inputs.defaults.folds, seed=config.seed)
    with limited_threads(inputs.defaults.threads):
        return train(inputs, given, np.ones(len(given)), folds, count, config, monitor, None).probs


def remembered(cache_dir: Path, method: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """What a peer answers, from the cache if it was asked the same before: an interrupted run goes on, and a change of our
    own method does not cost hours of the others'. Not for measuring time."""
    asked = hashlib.sha256(method.__name__.encode())
    for each in (*arguments, *sorted(settings.items())):
        asked.update(each.tobytes() if isinstance(each, np.ndarray) else repr(each).encode())
    kept = cache_dir / f"peer-{asked.hexdigest()[:16]}.npz"
    if not kept.exists():
        found = method(*arguments, **settings)
        part = kept.with_suffix(".part.npz")
        np.savez(part, *(found if isinstance(found, tuple) else (found,)))
        part.replace(kept)
    with np.load(kept) as arrays:
        answers = tuple(arrays.values())
    return answers if len(answers) > 1 else answers[0]


def filter_and_retrain(
    matrix: FloatArray, texts: list[str], given: IntArray, count: int, *, strength: float, seed: int
) -> tuple[FloatArray, BoolArray]:
    """Confident learning (Northcutt et al. 2021) by the cleanlab package: find wrong labels, fit again without them.

    Returns:
        Out-of-fold probabilities (N, K) of the second fit, and the rows whose label was found wrong (N,).
    """
    folds = assign_folds(texts, given, 5, seed=seed)
    fit: Callable[[BoolArray], FloatArray] = lambda rows: logistic_probs(  # noqa: E731
        matrix,
        np.where(rows, given, NO_LABEL),
        folds,
        count,
        weights=np.ones(len(given)),
        strength=strength,
    )
    readable = given != NO_LABEL
    wrong = find_wrong(fit(readable), given, readable)
    return fit(readable & ~wrong), wrong


def find_wrong(probs: FloatArray, given: IntArray, readable: BoolArray) -> BoolArray:
    """Rows (N,) whose label the cleanlab package finds wrong, by its default filter."""
    from cleanlab.filter import find_label_issues

    wrong = np.zeros(len(given), dtype=bool)
    wrong[readable] = find_label_issues(given[readable], probs[readable], n_jobs=1)
    return wrong
