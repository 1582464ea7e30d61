"""What goes into distillation and what comes out, as plain arrays; loads neither torch nor scikit-learn.

Notation: ``N`` rows, ``K`` labels, ``D`` dimensions. All arrays are in the order of the corpus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from mlcore.column_kinds import Kind
from mlcore.messages import Message
from mlcore.records import NO_LABEL, BoolArray, FloatArray, IntArray

LIKELY_RIGHT, LIKELY_WRONG, INCONSISTENT = 0, 1, 2

# What a running distillation is at; every phase has its words on the page.
Phase = Literal["features", "warm-up", "robust", "verdict", "model"]


@dataclass(frozen=True)
class Corpus:
    """``texts``: N rows as the models are shown them. ``table``: the columns (all strings) of a tabular task, else None.

    ``column_kinds``: what a person said that columns of the table hold; the others are guessed.
    """

    texts: Sequence[str]
    table: pd.DataFrame | None = None
    column_kinds: Mapping[str, Kind] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class NoisyLabels:
    """What is known of the labels before training.

    ``given (N,)``: the LLM's label, ``NO_LABEL`` where its answer could not be read.
    ``probs (N, K)``: its calibrated distribution, rows of NaN where it gave none; None if it never gives one.
    ``verified (N,)``: a person's label, ``NO_LABEL`` where nobody decided.
    ``in_bulk (N,)``: rows that a person decided many at a time, and need not have looked at; None if there are none.
    ``stands_for (N,)``: of checked rows that were drawn at random, one over the probability of being drawn; 0 for the others.
    None where nothing is known of it: all checked rows then count alike.
    """

    given: IntArray
    probs: FloatArray | None
    verified: IntArray
    count: int
    in_bulk: BoolArray | None = None
    stands_for: FloatArray | None = None

    @property
    def known(self) -> IntArray:
        """Labels ``(N,)`` to learn from: a person's, else the LLM's, else ``NO_LABEL``."""
        return np.where(self.verified != NO_LABEL, self.verified, self.given)

    @property
    def looked_at(self) -> BoolArray:
        """Rows ``(N,)`` whose true label is known, since a person looked at each."""
        decided = np.asarray(self.verified != NO_LABEL)
        return decided if self.in_bulk is None else decided & ~self.in_bulk


@dataclass(frozen=True)
class Progress:
    """One event of a running distillation. Counts are of finished work; losses are means over the epoch so far."""

    phase: Phase
    epoch: int = 0
    epochs: int = 0
    batch: int = 0
    batches: int = 0
    loss: float = 0.0
    loss_unlabelled: float = 0.0
    clean_share: float = 1.0
    seconds_left: float | None = None


@dataclass(frozen=True)
class EpochReport:
    """One finished epoch, over all cross-fitted networks.

    ``loss``: mean cross-entropy on labelled rows; ``loss_unlabelled``: FixMatch's part; ``clean_share``: rows taken
    as labelled, of those that have a label; ``changes``: share of rows whose out-of-fold prediction changed since
    the epoch before; ``balance (K,)`` and ``clean_balance (K,)``: class shares of all labelled and of clean rows;
    ``fit``: mean out-of-fold log-likelihood of the given labels; ``skipped``: batches without a finite loss.
    """

    epoch: int
    phase: Phase
    loss: float
    loss_unlabelled: float
    clean_share: float
    changes: float
    fit: float
    balance: list[float]
    clean_balance: list[float]
    seconds: float
    skipped: int = 0  # a checkpoint of an earlier version says nothing of it


@dataclass(frozen=True)
class Mixture:
    """Two Gaussians on the losses of one class (or of all: ``label`` is then -1), low-loss component first.

    ``fallback`` is the reason why ranks were used instead of the Gaussians, None where they were not.
    """

    label: int
    rows: int
    weights: tuple[float, float]
    means: tuple[float, float]
    deviations: tuple[float, float]
    fallback: Message | None = None


@dataclass(frozen=True)
class Distilled:
    """The verdict on every row, and how it was reached.

    ``probs (N, K)``: the small model's calibrated out-of-fold probabilities; ``prediction (N,)`` their maximum and
    ``confidence (N,)`` its probability. ``losses (N,)``: out-of-fold cross-entropy of the row's label (NaN without
    one). ``clean_prob (N,)``: the mixture's probability that the label is right (0 without one, 1 if verified).
    ``rank (N,)``: 1 is the most suspicious row. ``features (N, D)`` float16. ``points (N, 2)``: the map, NaN where
    not sampled. ``label (N,)``: the final label, a person's where there is one. ``risk (N,)``: probability that it
    is wrong (0 if verified). ``flag (N,)`` int8: 0 likely right, 1 likely wrong, 2 inconsistent (LLM and small model
    differ). ``order (N,)``: row numbers, the review queue; verified rows come last. ``machine_label``,
    ``machine_risk`` and ``machine_flag (N,)``: the same as if nobody had looked, so that a round can be measured on the
    rows that people checked (all opinions are out of fold: no model saw a row's own label). ``views (N, V, K)`` float16: the
    small models' opinions apart, for a verdict anew without a training. ``kept_label (N,)``: the kept model's, out of fold
    too; None where none is kept.
    """

    probs: FloatArray
    prediction: IntArray
    confidence: FloatArray
    losses: FloatArray
    clean_prob: FloatArray
    rank: IntArray
    features: FloatArray
    points: FloatArray
    label: IntArray
    risk: FloatArray
    flag: IntArray
    order: IntArray
    machine_label: IntArray
    machine_risk: FloatArray
    machine_flag: IntArray
    views: FloatArray
    kept_label: IntArray | None = None
    history: list[EpochReport] = field(default_factory=list)
    mixtures: list[Mixture] = field(default_factory=list)
    stopped: Message | None = None
    warnings: list[Message] = field(default_factory=list)
    evidence: dict[str, float] = field(default_factory=dict)
