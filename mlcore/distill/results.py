"""What is shown of every row: by the label model's verdict, or, for the paper's method, by the networks alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mlcore.config import DistillConfig
from mlcore.corpus import LIKELY_RIGHT, Distilled, NoisyLabels
from mlcore.probabilities import cross_entropy
from mlcore.records import NO_LABEL, FloatArray, IntArray
from mlcore.slm.cross_fit import Trained
from mlcore.slm.inputs import Inputs
from mlcore.slm.noise import CleanSplit, clean_probability, split_clean, suspicion_rank
from mlcore.verdict.combine import Verdict
from mlcore.verdict.review_order import flag_rows, review_order


@dataclass(frozen=True)
class MachineResult:
    """What the models say of N rows, as if nobody had looked.

    ``probs (N, K)``: the small model's. ``label (N,)``, ``risk (N,)``: the final label and the probability that it is
    wrong; flags follow from it. ``doubt (N,)``: the order in the queue of rows of equal risk, highest first. ``views (N, V, K)``:
    the opinions apart; none where the networks decide alone.
    """

    probs: FloatArray
    label: IntArray
    risk: FloatArray
    doubt: FloatArray
    views: FloatArray
    evidence: dict[str, float] = field(default_factory=dict)


def label_model_result(
    verdict: Verdict, trained: Trained, noisy: NoisyLabels, inputs: Inputs, config: DistillConfig
) -> Distilled:
    """The result of the methods ``coral``, ``adamatch`` and ``plain``, whose labels the label model decides.

    Clean probabilities come from one mixture per class on the losses of the pooled small models, flags from the risk.
    """
    losses, split = split_losses(verdict.slm_probs, noisy, config, per_class=True)
    clean_prob = np.zeros(len(losses))
    clean_prob[noisy.known != NO_LABEL] = split.prob
    machine = MachineResult(
        probs=verdict.slm_probs,
        label=verdict.machine_label,
        risk=verdict.machine_risk,
        doubt=verdict.doubt,
        views=verdict.views,
        evidence=verdict.evidence(noisy),
    )
    return make_result(machine, losses, clean_prob, split, trained, noisy, inputs)


def network_result(trained: Trained, noisy: NoisyLabels, inputs: Inputs, config: DistillConfig) -> Distilled:
    """The result of the method ``paper``: the networks' own predictions and clean probabilities, nothing else.

    The final label is the prediction, its risk one minus its probability: flags and queue follow from it. One mixture on
    all losses gives the clean probabilities.
    """
    losses, split = split_losses(trained.probs, noisy, config, per_class=False)
    readable = noisy.given != NO_LABEL
    confidence = trained.probs.max(axis=1)
    # Of the LLM's label, of checked rows too: a person's answer must not decide how the row would have been flagged.
    given_losses = cross_entropy(trained.probs[readable], noisy.given[readable])
    clean_prob = np.zeros(len(losses))
    clean_prob[readable] = clean_probability(given_losses, split.mixtures[0])
    machine = MachineResult(
        probs=trained.probs,
        label=trained.probs.argmax(axis=1),
        risk=1.0 - confidence,
        doubt=1.0 - confidence,
        views=np.empty((len(losses), 0, noisy.count), dtype=np.float16),
    )
    return make_result(machine, losses, clean_prob, split, trained, noisy, inputs)


@dataclass(frozen=True)
class RowsNow:
    """What the networks say of N rows after an epoch, before the verdict: ``prediction``, ``confidence``, ``clean_prob`` and
    ``rank`` ``(N,)``, see :class:`Distilled`, and their ``points (N, 2)``."""

    prediction: IntArray
    confidence: FloatArray
    clean_prob: FloatArray
    rank: IntArray
    points: FloatArray


def rows_now(
    probs: FloatArray, noisy: NoisyLabels, points: FloatArray, config: DistillConfig, order: IntArray
) -> RowsNow:
    """The rows after an epoch, in the order of the upload; ``order`` as for ``restore_order``."""
    losses, split = split_losses(probs, noisy, config, per_class=config.method != "paper")
    clean_prob = np.zeros(len(losses))
    clean_prob[noisy.known != NO_LABEL] = split.prob
    back = np.argsort(order)
    rank = suspicion_rank(clean_prob, losses)
    return RowsNow(
        probs.argmax(axis=1)[back], probs.max(axis=1)[back], clean_prob[back], rank[back], points[back]
    )


def split_losses(
    probs: FloatArray, noisy: NoisyLabels, config: DistillConfig, *, per_class: bool
) -> tuple[FloatArray, CleanSplit]:
    """Losses ``(N,)`` of the known labels, NaN where there is none, and the split of the rows that have one."""
    labelled = noisy.known != NO_LABEL
    losses = np.full(len(labelled), np.nan)
    losses[labelled] = cross_entropy(probs[labelled], noisy.known[labelled])
    split = split_clean(
        losses[labelled],
        noisy.known[labelled],
        noisy.count,
        threshold=config.clean_threshold,
        per_class=per_class,
    )
    return losses, split


def make_result(
    machine: MachineResult,
    losses: FloatArray,
    clean_prob: FloatArray,
    split: CleanSplit,
    trained: Trained,
    noisy: NoisyLabels,
    inputs: Inputs,
) -> Distilled:
    """The models' result with what people decided, which is final."""
    checked = noisy.verified != NO_LABEL
    clean_prob = np.where(checked, 1.0, clean_prob)
    prediction = machine.probs.argmax(axis=1)
    flag = flag_rows(machine.risk, noisy.given, prediction)
    return Distilled(
        probs=machine.probs,
        prediction=prediction,
        confidence=machine.probs.max(axis=1),
        losses=losses,
        clean_prob=clean_prob,
        rank=suspicion_rank(clean_prob, losses),
        features=inputs.features,
        points=inputs.points,
        label=np.where(checked, noisy.verified, machine.label),
        risk=np.where(checked, 0.0, machine.risk),
        flag=np.where(checked, LIKELY_RIGHT, flag).astype(np.int8),
        order=review_order(machine.risk, machine.doubt, checked),
        machine_label=machine.label,
        machine_risk=machine.risk,
        machine_flag=flag,
        views=machine.views,
        history=trained.history,
        mixtures=split.mixtures,
        stopped=trained.stopped,
        warnings=trained.warnings,
        evidence=machine.evidence,
    )
