"""One network with its optimiser, and the two kinds of epochs that it is trained by; and its checkpoint on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mlcore.atomic_write import write_whole
from mlcore.records import FloatArray, IntArray
from mlcore.slm.heads import Network

CLIP = 1.0  # norm of a step's gradient
PREDICTED_AT_ONCE = 256
BATCHES_PER_BUCKET = 20
ADAPTIVE_SHARE = 0.9  # of the mean confidence on labelled rows, as in AdaMatch


@dataclass(frozen=True)
class TrainingConfig:
    """What does not change from epoch to epoch."""

    batch_size: int
    learning_rate: float
    ridge: float  # of the squared weights, in the loss
    pseudo_threshold: float = 0.95  # tau of FixMatch, as published
    unlabelled_weight: float = 1.0  # lambda of FixMatch, as published
    # Decay of the moving average of the weights that predicts; 0 = the weights themselves.
    average: float = 0.0
    adaptive: bool = False  # AdaMatch's alignment of classes and threshold, in place of FixMatch's fixed one


@dataclass(frozen=True)
class EpochRows:
    """What one network learns from in one epoch: row numbers, and ``weights (N,)`` of the labelled ones."""

    labelled: IntArray
    unlabelled: IntArray
    weights: FloatArray


@dataclass(frozen=True)
class PseudoLabelThreshold:
    """Least ``confidence`` of a pseudo-label, after the classes' probabilities were multiplied by ``align (K,)``."""

    confidence: float
    align: Tensor


@dataclass(frozen=True)
class EpochLosses:
    """Mean losses of an epoch's batches, but for the ``skipped`` ones, which gave no finite loss or gradient."""

    labelled: float
    unlabelled: float
    batches: int
    skipped: int


class Learner:
    """A network, its optimiser and its source of randomness.

    Args:
        build: makes the network; called right after the generator of all weights is seeded.
        config: batch size, learning rate and so on.
        seed: decides initial weights, the order of rows, and the views.
    """

    def __init__(self, build: Callable[[], Network], config: TrainingConfig, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = build()
        self.config = config
        self.generator = torch.Generator().manual_seed(seed)
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.weights = [parameter for parameter in trained if parameter.ndim > 1]  # biases carry no ridge
        self.optimizer = torch.optim.Adam(trained, lr=config.learning_rate)
        self.averaged: dict[str, Tensor] = {}
        if config.average > 0.0:
            self.averaged = {name: value.clone() for name, value in self.network.state_dict().items()}

    def train_epoch(
        self,
        targets: FloatArray,
        rows: EpochRows,
        *,
        lr_factor: float,
        on_batch: Callable[[int, int, float, float], None],
    ) -> EpochLosses:
        """Train once over the labelled rows, with FixMatch on as large a share of the unlabelled rows per batch.

        Dropout takes its chance from this learner's generator.

        Args:
            targets: ``(N, K)``, what labelled rows should give.
            rows: the labelled rows with their weights, and the unlabelled ones; none of these for plain cross-entropy.
            lr_factor: share of the learning rate to use in this epoch.
            on_batch: called with batches done, batches, mean labelled and unlabelled loss; may raise to stop.
        """
        seed = int(torch.randint(1 << 30, (1,), generator=self.generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network.train()
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.learning_rate * lr_factor
            return self._train_batches(targets, rows, on_batch)

    def _train_batches(
        self, targets: FloatArray, rows: EpochRows, on_batch: Callable[[int, int, float, float], None]
    ) -> EpochLosses:
        batches = make_batches(rows.labelled, self.config.batch_size, self.network.lengths, self.generator)
        unlabelled = _shuffle(rows.unlabelled, self.generator)
        threshold = self.choose_threshold(rows.labelled, rows.unlabelled, targets.shape[1])
        wanted = torch.as_tensor(targets, dtype=torch.float32)
        weights = torch.as_tensor(rows.weights, dtype=torch.float32)
        sums, skipped = [0.0, 0.0], 0
        for number, batch in enumerate(batches, start=1):
            loss = self._labelled_loss(batch, wanted[batch], weights[batch])
            loss_unlabelled = self._unlabelled_loss(unlabelled[number - 1 :: len(batches)], threshold)
            penalty = self.config.ridge * self._squared_weights()
            if self._step(loss + self.config.unlabelled_weight * loss_unlabelled + penalty):
                sums = [sums[0] + float(loss.detach()), sums[1] + float(loss_unlabelled.detach())]
            else:
                skipped += 1
            taken = max(number - skipped, 1)
            on_batch(number, len(batches), sums[0] / taken, sums[1] / taken)
        return EpochLosses(sums[0] / taken, sums[1] / taken, len(batches), skipped)

    def _labelled_loss(self, rows: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        logits = self.network(rows, "weak", self.generator).cpu()  # (B, K)
        losses = functional.cross_entropy(logits, targets, reduction="none")  # (B,)
        return (losses * weights).sum() / weights.sum().clamp(min=1e-6)

    def choose_threshold(self, labelled: IntArray, unlabelled: IntArray, count: int) -> PseudoLabelThreshold:
        """FixMatch's fixed threshold; or, after AdaMatch (Berthelot et al., ICLR 2022), a share of the mean confidence on
        labelled rows, and pseudo-labels shifted to the classes' shares there."""
        if not self.config.adaptive or len(unlabelled) == 0 or len(labelled) == 0:
            return PseudoLabelThreshold(self.config.pseudo_threshold, torch.ones(count))
        # Once an epoch and not, as in AdaMatch, once a batch: a resumed run is the same.
        known, guessed = self.predict(labelled), self.predict(unlabelled)
        self.network.train()
        align = known.mean(axis=0) / np.maximum(guessed.mean(axis=0), 1e-6)
        confidence = ADAPTIVE_SHARE * float(known.max(axis=1).mean())
        return PseudoLabelThreshold(confidence, torch.as_tensor(align, dtype=torch.float32))

    def _unlabelled_loss(self, rows: Tensor, threshold: PseudoLabelThreshold) -> Tensor:
        """FixMatch: the confident prediction on the weak view is the target of the strong view."""
        if len(rows) == 0:
            return torch.zeros(())
        with torch.no_grad():
            probs = functional.softmax(self.network(rows, "weak", self.generator).cpu(), dim=1)  # (B, K)
        aligned = probs * threshold.align
        confidence, label = (aligned / aligned.sum(dim=1, keepdim=True).clamp(min=1e-9)).max(dim=1)
        is_confident = (confidence >= threshold.confidence).float()  # (B,)
        logits = self.network(rows, "strong", self.generator).cpu()
        return (functional.cross_entropy(logits, label, reduction="none") * is_confident).mean()

    def _squared_weights(self) -> Tensor:
        if self.config.ridge == 0.0:
            return torch.zeros(())
        return torch.stack([weight.square().sum() for weight in self.weights]).sum().cpu()

    def _step(self, loss: Tensor) -> bool:
        """One step of the optimiser; False, and no step, where the loss or its gradient is not finite: one bad batch must
        not spoil the weights."""
        if not torch.isfinite(loss):
            return False
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if not torch.isfinite(torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)):
            return False
        self.optimizer.step()
        current = self.network.state_dict()
        for name, average in self.averaged.items():
            if average.is_floating_point():
                average.lerp_(current[name], 1.0 - self.config.average)
        return True

    @property
    def final_weights(self) -> dict[str, Tensor]:
        """What predicts: the averaged weights, or the network's own where none are averaged."""
        return self.averaged or self.network.state_dict()

    def predict(self, rows: IntArray) -> FloatArray:
        """Probabilities ``(len(rows), K)`` of the plain view, by the averaged weights."""
        return predict_rows(self.network, self.final_weights, rows, self.generator)


def predict_rows(
    network: Network, weights: dict[str, Tensor], rows: IntArray, generator: torch.Generator
) -> FloatArray:
    """Probabilities ``(len(rows), K)`` of the plain view of a network with these weights."""
    network.eval()
    lengths = network.lengths
    order = np.arange(len(rows)) if lengths is None else np.argsort(lengths[rows], kind="stable")
    parts = []
    with torch.inference_mode():
        for start in range(0, len(order), PREDICTED_AT_ONCE):
            batch = torch.as_tensor(rows[order[start : start + PREDICTED_AT_ONCE]])
            logits = torch.func.functional_call(network, weights, (batch, "plain", generator))
            parts.append(functional.softmax(logits.cpu().double(), dim=1))
    probs = torch.cat(parts).numpy()  # (len(rows), K), in the order of the forward passes
    return np.asarray(probs[np.argsort(order)])


def make_batches(
    rows: IntArray, size: int, lengths: IntArray | None, generator: torch.Generator
) -> list[Tensor]:
    """Shuffled batches; where rows have lengths, those of a batch are similar, so that little is spent on padding."""
    shuffled = _shuffle(rows, generator)
    count = max(1, -(-len(rows) // size))
    if lengths is None:
        return [shuffled[start::count] for start in range(count)]
    batches: list[Tensor] = []
    for pool in torch.split(shuffled, size * BATCHES_PER_BUCKET):
        by_length = pool[torch.as_tensor(lengths[pool.numpy()]).argsort(stable=True)]
        batches += list(torch.split(by_length, size))
    return [batches[int(index)] for index in torch.randperm(len(batches), generator=generator)]


def save_checkpoint(path: Path, learners: list[Learner], identity: str, notes: dict[str, Any]) -> None:
    """Write all learners and the notes whole or not at all."""
    states = [
        {
            "network": learner.network.state_dict(),
            "optimizer": learner.optimizer.state_dict(),
            "averaged": learner.averaged,
            "generator": learner.generator.get_state(),
        }
        for learner in learners
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as temporary:
        torch.save({"identity": identity, "notes": json.dumps(notes), "learners": states}, temporary)


def load_checkpoint(path: Path, learners: list[Learner], identity: str) -> dict[str, Any] | None:
    """Put the learners back where the checkpoint left them, and return its notes; None if there is none of these inputs."""
    if not path.exists():
        return None
    stored = torch.load(path, map_location="cpu", weights_only=True)
    if stored["identity"] != identity:
        return None
    for learner, state in zip(learners, stored["learners"], strict=True):
        learner.network.load_state_dict(state["network"])
        learner.optimizer.load_state_dict(state["optimizer"])
        learner.generator.set_state(state["generator"])
        for name, average in learner.averaged.items():
            average.copy_(state["averaged"][name])  # in place: it stays on the network's device
    notes: dict[str, Any] = json.loads(stored["notes"])
    return notes


def _shuffle(rows: IntArray, generator: torch.Generator) -> Tensor:
    return torch.as_tensor(rows, dtype=torch.int64)[torch.randperm(len(rows), generator=generator)]
