"""One network with its optimiser, and the two kinds of epochs that it is trained by; and its checkpoint on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from mlcore.records import FloatArray, IntArray
from mlcore.slm.heads import Network

CLIP = 1.0
PREDICTED_AT_ONCE = 256
BATCHES_PER_BUCKET = 20
ADAPTIVE_SHARE = 0.9


@dataclass(frozen=True)
class Recipe:
    """The numbers of training that do not change from epoch to epoch."""

    batch_size: int
    learning_rate: float
    ridge: float  # of the squared weights, in the loss
    pseudo_threshold: float = 0.95  # FixMatch's tau
    unlabelled_weight: float = 1.0  # FixMatch's lambda
    # Decay of the moving average of the weights that predicts; 0 = the weights themselves.
    average: float = 0.0
    adaptive: bool = False  # AdaMatch's alignment of classes and threshold, in place of FixMatch's fixed one


@dataclass(frozen=True)
class Trust:
    """Which guesses on unlabelled rows are learned from: those as sure as ``threshold`` after the classes' shares were
    multiplied by ``align (K,)``."""

    threshold: float
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
        recipe: batch size, learning rate and so on.
        seed: decides initial weights, the order of rows, and the views.
    """

    def __init__(self, build: Callable[[], Network], recipe: Recipe, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = build()
        self.recipe = recipe
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.weights = [parameter for parameter in trained if parameter.ndim > 1]  # biases carry no ridge
        self.optimizer = torch.optim.Adam(trained, lr=recipe.learning_rate)
        self.averaged: dict[str, Tensor] = {}
        if recipe.average > 0.0:
            self.averaged = {name: value.clone() for name, value in self.network.state_dict().items()}

    def train_epoch(
        self,
        targets: FloatArray,
        weights: FloatArray,
        labelled: IntArray,
        unlabelled: IntArray,
        *,
        pace: float,
        on_batch: Callable[[int, int, float, float], None],
    ) -> EpochLosses:
        """Train once over the labelled rows, with FixMatch on as large a share of the unlabelled rows per batch.

        Dropout takes its chance from this learner's generator.

        Args:
            targets: ``(N, K)``, what labelled rows should give.
            weights: ``(N,)``, how much each labelled row counts.
            labelled: numbers of the labelled rows.
            unlabelled: numbers of the rest; empty for plain cross-entropy.
            pace: share of the learning rate to use in this epoch.
            on_batch: called with batches done, batches, mean labelled and unlabelled loss; may raise to stop.
        """
        chance = int(torch.randint(1 << 30, (1,), generator=self.generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(chance)
            return self._train(targets, weights, labelled, unlabelled, pace=pace, on_batch=on_batch)

    def _train(
        self,
        targets: FloatArray,
        weights: FloatArray,
        labelled: IntArray,
        unlabelled: IntArray,
        *,
        pace: float,
        on_batch: Callable[[int, int, float, float], None],
    ) -> EpochLosses:
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * pace
        batches = make_batches(labelled, self.recipe.batch_size, self.network.lengths, self.generator)
        others = _shuffle(unlabelled, self.generator)
        trust = self.decide_trust(labelled, unlabelled, targets.shape[1])
        wanted = torch.as_tensor(targets, dtype=torch.float32)
        scale = torch.as_tensor(weights, dtype=torch.float32)
        sums, skipped = [0.0, 0.0], 0
        for number, rows in enumerate(batches, start=1):
            loss = self._labelled_loss(rows, wanted[rows], scale[rows])
            loss_unlabelled = self._unlabelled_loss(others[number - 1 :: len(batches)], trust)
            penalty = self.recipe.ridge * self._squared_weights()
            if self._step(loss + self.recipe.unlabelled_weight * loss_unlabelled + penalty):
                sums = [sums[0] + float(loss.detach()), sums[1] + float(loss_unlabelled.detach())]
            else:
                skipped += 1
            taken = max(number - skipped, 1)
            on_batch(number, len(batches), sums[0] / taken, sums[1] / taken)
        return EpochLosses(sums[0] / taken, sums[1] / taken, len(batches), skipped)

    def _labelled_loss(self, rows: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        logits = self.network(rows, "weak", self.generator).cpu()  # (B, K)
        losses = -(targets * functional.log_softmax(logits, dim=1)).sum(dim=1)  # (B,)
        return (losses * weights).sum() / weights.sum().clamp(min=1e-6)

    def decide_trust(self, labelled: IntArray, unlabelled: IntArray, count: int) -> Trust:
        """FixMatch's fixed threshold; or, after AdaMatch (Berthelot et al., ICLR 2022), a share of the mean confidence on
        labelled rows, and guesses shifted to the classes' shares there. Taken once an epoch, so that a resumed run is
        the same."""
        if not self.recipe.adaptive or len(unlabelled) == 0 or len(labelled) == 0:
            return Trust(self.recipe.pseudo_threshold, torch.ones(count))
        known, guessed = self.predict(labelled), self.predict(unlabelled)
        self.network.train()
        align = known.mean(axis=0) / np.maximum(guessed.mean(axis=0), 1e-6)
        threshold = ADAPTIVE_SHARE * float(known.max(axis=1).mean())
        return Trust(threshold, torch.as_tensor(align, dtype=torch.float32))

    def _unlabelled_loss(self, rows: Tensor, trust: Trust) -> Tensor:
        """FixMatch: the confident prediction on the weak view is the target of the strong view."""
        if len(rows) == 0:
            return torch.zeros(())
        with torch.no_grad():
            guess = functional.softmax(self.network(rows, "weak", self.generator).cpu(), dim=1)  # (B, K)
        aligned = guess * trust.align
        confidence, label = (aligned / aligned.sum(dim=1, keepdim=True).clamp(min=1e-9)).max(dim=1)
        trusted = (confidence >= trust.threshold).float()  # (B,)
        logits = self.network(rows, "strong", self.generator).cpu()
        return (functional.cross_entropy(logits, label, reduction="none") * trusted).mean()

    def _squared_weights(self) -> Tensor:
        if self.recipe.ridge == 0.0:
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
                average.lerp_(current[name], 1.0 - self.recipe.average)
        return True

    def predict(self, rows: IntArray) -> FloatArray:
        """Probabilities ``(len(rows), K)`` of the plain view, by the averaged weights."""
        self.network.eval()
        lengths = self.network.lengths
        order = np.arange(len(rows)) if lengths is None else np.argsort(lengths[rows], kind="stable")
        weights = self.averaged or self.network.state_dict()
        parts = []
        with torch.inference_mode():
            for start in range(0, len(order), PREDICTED_AT_ONCE):
                batch = torch.as_tensor(rows[order[start : start + PREDICTED_AT_ONCE]])
                logits = torch.func.functional_call(self.network, weights, (batch, "plain", self.generator))
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
    return [batches[int(place)] for place in torch.randperm(len(batches), generator=generator)]


def save_checkpoint(path: Path, learners: list[Learner], identity: str, notes: dict[str, Any]) -> None:
    """Write all learners and the notes (JSON) whole or not at all."""
    tensors: dict[str, Tensor] = {}
    for number, learner in enumerate(learners):
        for name, tensor in learner.network.state_dict().items():
            tensors[f"{number}/network/{name}"] = tensor.contiguous().clone()
        for name, tensor in learner.averaged.items():
            tensors[f"{number}/averaged/{name}"] = tensor.contiguous().clone()
        for index, state in learner.optimizer.state_dict()["state"].items():
            for name, tensor in state.items():
                tensors[f"{number}/optimizer/{index}/{name}"] = torch.as_tensor(tensor).contiguous().clone()
        tensors[f"{number}/generator"] = learner.generator.get_state()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    save_file(tensors, temporary, metadata={"identity": identity, "notes": json.dumps(notes)})
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def load_checkpoint(path: Path, learners: list[Learner], identity: str) -> dict[str, Any] | None:
    """Put the learners back where the checkpoint left them; None if there is none of these inputs."""
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        if file.metadata()["identity"] != identity:
            return None
        notes: dict[str, Any] = json.loads(file.metadata()["notes"])
        names = list(file.keys())
        for number, learner in enumerate(learners):
            mine = {
                name.split("/", 1)[1]: file.get_tensor(name)
                for name in names
                if name.startswith(f"{number}/")
            }
            learner.generator.set_state(mine["generator"])
            weights = {
                name[len("network/") :]: value for name, value in mine.items() if name.startswith("network/")
            }
            learner.network.load_state_dict(weights)
            for name, average in learner.averaged.items():
                average.copy_(mine[f"averaged/{name}"])  # in place, so that it stays on the network's device
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in mine.items():
                if name.startswith("optimizer/"):
                    _, index, key = name.split("/")
                    state.setdefault(int(index), {})[key] = value
            groups = learner.optimizer.state_dict()["param_groups"]
            learner.optimizer.load_state_dict({"state": state, "param_groups": groups})
    return notes


def _shuffle(rows: IntArray, generator: torch.Generator) -> Tensor:
    return torch.as_tensor(rows, dtype=torch.int64)[torch.randperm(len(rows), generator=generator)]
