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

from mlcore.heads import Network
from mlcore.records import FloatArray, IntArray

CLIP = 1.0


@dataclass(frozen=True)
class Recipe:
    """The numbers of training that do not change from epoch to epoch."""

    batch_size: int
    learning_rate: float
    weight_decay: float
    pseudo_threshold: float  # FixMatch's tau
    unlabelled_weight: float  # FixMatch's lambda


@dataclass(frozen=True)
class EpochLosses:
    labelled: float
    unlabelled: float


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
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.AdamW(
            [p for p in self.network.parameters() if p.requires_grad],
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
        )

    def train_epoch(
        self,
        targets: FloatArray,
        weights: FloatArray,
        labelled: IntArray,
        unlabelled: IntArray,
        on_batch: Callable[[int, int, float, float], None],
    ) -> EpochLosses:
        """Train once over the labelled rows, with FixMatch on as large a share of the unlabelled rows per batch.

        Args:
            targets: ``(N, K)``, what labelled rows should give.
            weights: ``(N,)``, how much each labelled row counts.
            labelled: numbers of the labelled rows.
            unlabelled: numbers of the rest; empty for plain cross-entropy.
            on_batch: called with batches done, batches, mean labelled and unlabelled loss; may raise to stop.
        """
        self.network.train()
        batches = max(1, -(-len(labelled) // self.recipe.batch_size))
        shuffled = _shuffle(labelled, self.generator)
        others = _shuffle(unlabelled, self.generator)
        wanted = torch.as_tensor(targets, dtype=torch.float32)
        scale = torch.as_tensor(weights, dtype=torch.float32)
        sums = [0.0, 0.0]
        for batch in range(batches):
            rows = shuffled[batch::batches]
            loss = self._labelled_loss(rows, wanted[rows], scale[rows])
            loss_unlabelled = self._unlabelled_loss(others[batch::batches])
            self._step(loss + self.recipe.unlabelled_weight * loss_unlabelled)
            sums = [sums[0] + float(loss.detach()), sums[1] + float(loss_unlabelled.detach())]
            on_batch(batch + 1, batches, sums[0] / (batch + 1), sums[1] / (batch + 1))
        return EpochLosses(sums[0] / batches, sums[1] / batches)

    def _labelled_loss(self, rows: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        logits = self.network(rows, "weak", self.generator)  # (B, K)
        losses = -(targets * functional.log_softmax(logits, dim=1)).sum(dim=1)  # (B,)
        return (losses * weights).sum() / weights.sum().clamp(min=1e-6)

    def _unlabelled_loss(self, rows: Tensor) -> Tensor:
        """FixMatch: the confident prediction on the weak view is the target of the strong view."""
        if len(rows) == 0:
            return torch.zeros(())
        with torch.no_grad():
            guess = functional.softmax(self.network(rows, "weak", self.generator), dim=1)  # (B, K)
        confidence, label = guess.max(dim=1)
        trusted = (confidence >= self.recipe.pseudo_threshold).float()  # (B,)
        logits = self.network(rows, "strong", self.generator)
        return (functional.cross_entropy(logits, label, reduction="none") * trusted).mean()

    def _step(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            return  # one bad batch must not spoil the weights
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()

    def predict(self, rows: IntArray) -> FloatArray:
        """Probabilities ``(len(rows), K)`` of the plain view."""
        self.network.eval()
        parts = []
        with torch.inference_mode():
            for start in range(0, len(rows), 1024):
                batch = torch.as_tensor(rows[start : start + 1024])
                parts.append(functional.softmax(self.network(batch, "plain", self.generator), dim=1))
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float64)


def save_checkpoint(path: Path, learners: list[Learner], identity: str, notes: dict[str, Any]) -> None:
    """Write all learners and the notes (JSON) whole or not at all."""
    tensors: dict[str, Tensor] = {}
    for number, learner in enumerate(learners):
        for name, tensor in learner.network.state_dict().items():
            tensors[f"{number}/network/{name}"] = tensor.contiguous().clone()
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
