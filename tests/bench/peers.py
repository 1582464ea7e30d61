"""What the quality bench compares with: confident learning, and the plain and the published loop on their own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

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
    asked = (method.__name__, *arguments, *sorted(settings.items()))
    return kept(cache_dir, asked, lambda: method(*arguments, **settings))


def kept(cache_dir: Path, asked: Iterable[Any], compute: Callable[[], Any]) -> Any:
    """An array or a tuple of arrays, from the cache if it was computed for the same before."""
    digest = hashlib.sha256()
    for part in asked:
        digest.update(part.tobytes() if isinstance(part, np.ndarray) else str(part).encode())
    path = cache_dir / f"peer-{digest.hexdigest()[:16]}.npz"
    if not path.exists():
        computed = compute()
        temporary = path.with_suffix(".part.npz")
        np.savez(temporary, *(computed if isinstance(computed, tuple) else (computed,)))
        temporary.replace(path)
    with np.load(path) as arrays:
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


def fit_logit(views: FloatArray, verified: IntArray) -> FloatArray:
    """Probabilities (N, K) by a conditional logit over views (V, N, K) of log-probabilities, the LLM's, the encoder's, the
    words' and the paper's network, fitted to the answers (N,) with ridges towards fixed weights."""
    start = np.array([1.0, 0.4, 0.3, 0.4])
    count, classes = len(views), views.shape[2]
    rows = np.flatnonzero(verified != NO_LABEL)
    answers, checked = verified[rows], views[:, rows]

    def cost(values: FloatArray) -> tuple[float, FloatArray]:
        weights, bias = values[:count], values[count:]
        logs = log_softmax(np.tensordot(weights, checked, 1) + bias, axis=1)
        slope = np.exp(logs) - np.eye(classes)[answers]
        loss = -logs[np.arange(len(rows)), answers].sum()
        loss += np.square(weights - start).sum() + 10.0 * np.square(bias).sum()
        by_view = np.einsum("vrk,rk->v", checked, slope) + 2.0 * (weights - start)
        return float(loss), np.concatenate([by_view, slope.sum(axis=0) + 20.0 * bias])

    best = minimize(cost, np.concatenate([start, np.zeros(classes)]), jac=True, method="L-BFGS-B").x
    return np.asarray(softmax(np.tensordot(best[:count], views, 1) + best[count:], axis=1))
