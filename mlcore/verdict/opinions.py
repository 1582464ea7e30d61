"""Two opinions on every row from different sources, and what a second look at doubtful labels makes of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from mlcore.config import DistillConfig
from mlcore.corpus import Corpus, NoisyLabels
from mlcore.records import NO_LABEL, FloatArray, IntArray
from mlcore.slm.cross_fit import train, weigh_by_trust
from mlcore.slm.inputs import HEAD, Inputs, Monitor
from mlcore.slm.noise import cross_entropy, split_clean
from mlcore.verdict.combine import Combined, combine
from mlcore.verdict.pooling import (
    SMALL_TREES,
    boosted_probs,
    calibrate,
    logistic_probs,
    match_shares,
    neighbour_votes,
    ngram_features,
    pool,
)

WORD_STRENGTH = 2.0  # inverse ridge of the logistic regression on n-grams
REFITS = 4
LEAST_KEPT = 0.3  # of the rows that a class had in the first verdict
LEAST_GIVEN = 0.2  # of the rows that the LLM gave a label, which the small models give it at first


@dataclass(frozen=True)
class Judges:
    """Everything that the opinions are made from: the rows, their folds, and the network's settings."""

    corpus: Corpus
    inputs: Inputs
    folds: IntArray
    count: int
    config: DistillConfig

    @cached_property
    def words(self) -> list[Any]:
        """TF-IDF matrices of words and of characters; fewer where nothing occurs twice."""
        found = [ngram_features(self.corpus.texts, analyzer) for analyzer in ("word", "char")]
        return [matrix for matrix in found if matrix is not None]


def decide(
    judges: Judges,
    probs: FloatArray,
    noisy: NoisyLabels,
    known: IntArray,
    weights: FloatArray,
    monitor: Monitor,
) -> Combined:
    """The verdict on every row.

    Where the LLM turns out to be the weaker one, its labels are replaced by the verdict and the small models are
    fitted again, a few times (after the rounds of relabelling in DivideMix and CanDist). Where it is the stronger
    one, this would only take true labels from the small models (MR: 95.2 instead of 95.5 % after a tenth is reviewed).
    Of texts, it must be known to be the weaker one, by the lower end of the estimate: on a few hundred rows the refits would
    otherwise learn the small models' own mistakes. Trees on few rows err by chance more than alike, and gain from refits.
    On a table the refitted models are all trees; the network, which errs in other ways, has its say beside them at the
    end, as far as it agrees with them. Were the trees fitted to its labels too, a class would fade away.

    Args:
        judges: rows, folds, settings.
        probs: ``(N, K)``, the trained network's, out of fold.
        noisy: what the LLM and people said.
        known: ``(N,)``, a person's label, else the LLM's.
        weights: ``(N,)``, how much each counts.
        monitor: asked whether to stop.
    """
    is_text = judges.corpus.table is None
    views = gather_views(judges, probs, known, weights)
    verdict = look(*views, noisy) if is_text else combine(*views, noisy)
    if (verdict.found.least_wrong if is_text else verdict.found.teacher_wrong) <= 0.5:
        return verdict
    if is_text:
        trust = weigh_rows(verdict.student, known, weights, noisy.count)
        verdict = combine(*gather_views(judges, probs, known, trust), noisy)
    shares, found = known_shares(noisy), verdict.found
    begun = np.bincount(verdict.student.argmax(axis=1), minlength=noisy.count)
    for _ in range(REFITS):
        student = verdict.student if shares is None else match_shares(verdict.student, shares)
        labels = np.where(noisy.verified != NO_LABEL, noisy.verified, student.argmax(axis=1))
        if forgets(labels, begun):
            break
        verdict = combine(*refit(judges, labels, weights, monitor), noisy, found=found, shares=shares)
    if is_text or forgets(probs.argmax(axis=1), begun):
        return verdict
    network = calibrate(probs, verdict.student.argmax(axis=1), np.ones(len(known), dtype=bool))
    return combine(verdict.student, network, noisy, found=found, shares=shares)


def look(first: FloatArray, second: FloatArray, noisy: NoisyLabels) -> Combined:
    """The first verdict on texts. Where the small models all but give up a class that the LLM uses, as on few rows or in a language
    that the encoder does not know, they contradict it in that class whoever is right: such rows tell nothing of the LLM."""
    verdict = combine(first, second, noisy)
    said = np.bincount(noisy.given[noisy.given != NO_LABEL], minlength=noisy.count)
    given_up = np.bincount(verdict.student.argmax(axis=1), minlength=noisy.count) < LEAST_GIVEN * said
    return combine(first, second, noisy, heard=~given_up[noisy.given]) if given_up.any() else verdict


def forgets(labels: IntArray, begun: IntArray) -> bool:
    """Whether too few of the labels ``(N,)`` are of some class, of which the first verdict had ``begun (K,)`` rows."""
    return bool((np.bincount(labels, minlength=len(begun)) < LEAST_KEPT * begun).any())


def known_shares(noisy: NoisyLabels) -> FloatArray | None:
    """The classes' shares ``(K,)`` as the LLM's calibrated distributions have them; None where it gave too few."""
    if noisy.probs is None:
        return None
    stated = np.isfinite(noisy.probs).all(axis=1)
    return np.asarray(noisy.probs[stated].mean(axis=0)) if stated.mean() > 0.5 else None


def weigh_rows(probs: FloatArray, known: IntArray, weights: FloatArray, count: int) -> FloatArray:
    """How much each row's label counts ``(N,)`` for the second opinions: by its clean probability, out of fold."""
    labelled = np.flatnonzero(known != NO_LABEL)
    split = split_clean(cross_entropy(probs[labelled], known[labelled]), known[labelled], count)
    return weigh_by_trust(weights, labelled, split.prob)


def gather_views(
    judges: Judges, probs: FloatArray, known: IntArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Two opinions ``(N, K)`` from different sources.

    Of texts: the network's and the neighbours' on the encoder's features, and that of the words and characters. Of a
    table, whose columns can't be told apart like this: see :func:`grow_halves`.
    """
    labelled = known != NO_LABEL
    inputs, folds, count = judges.inputs, judges.folds, judges.count
    if judges.corpus.table is not None:
        return grow_halves(judges, known, weights)
    votes = neighbour_votes(inputs.features, known, labelled, folds, count, weights=weights)
    words = [
        logistic_probs(matrix, known, labelled, folds, count, weights=weights, strength=WORD_STRENGTH)
        for matrix in judges.words
    ]
    first, second = (
        calibrate(pool([calibrate(view, known, labelled) for view in views]), known, labelled)
        for views in ([probs, votes], words or [probs, votes])
    )
    return first, second


def grow_halves(
    judges: Judges, known: IntArray, weights: FloatArray, **size: int
) -> tuple[FloatArray, FloatArray]:
    """Trees on two disjoint halves of the rows: they share no accident of the sample, only what the labels teach."""
    half = np.random.default_rng(judges.config.seed).integers(0, 2, len(known))
    first, second = (
        calibrate(
            boosted_probs(
                judges.inputs.matrix,
                known,
                (known != NO_LABEL) & (half == part),
                judges.folds,
                judges.count,
                weights=weights,
                seed=judges.config.seed,
                **size,
            ),
            known,
            known != NO_LABEL,
        )
        for part in (0, 1)
    )
    return first, second


def refit(
    judges: Judges, labels: IntArray, weights: FloatArray, monitor: Monitor
) -> tuple[FloatArray, FloatArray]:
    """The opinions ``(N, K)`` of models that were fitted to the verdict, every row still out of fold."""
    if judges.corpus.table is not None:
        return grow_halves(judges, labels, weights, **SMALL_TREES)
    inputs = replace(judges.inputs, build=judges.inputs.rebuild, defaults=HEAD)
    plain = replace(judges.config, method="plain", learning_rate=0.0)
    probs = train(inputs, labels, weights, judges.folds, judges.count, plain, monitor, None).probs
    return gather_views(judges, probs, labels, weights)
