"""The small networks of distillation: a head on frozen features of a text, and an MLP on the columns of a table.

A network holds the data of all rows and is asked by row number, so that the training loop is the same for any of
them: ``network(rows, view, generator)`` gives logits ``(B, K)`` of a plain, weak or strong view.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from mlcore.augment import CORRUPTION, corrupt_columns, strong_features, weak_features
from mlcore.records import FloatArray, IntArray

View = Literal["plain", "weak", "strong"]


class Network(nn.Module):
    """What the training loop needs of a network, besides being a module."""

    def forward(self, rows: Tensor, view: View, generator: torch.Generator) -> Tensor:
        """Logits ``(B, K)`` of the given rows ``(B,)`` in one view."""
        raise NotImplementedError


class FeatureHead(Network):
    """A linear layer (``hidden`` = 0) or an MLP on frozen features, standardised over the corpus."""

    def __init__(self, features: Tensor, count: int, hidden: int) -> None:
        super().__init__()
        self.features = features  # (N, D); not a parameter
        width = features.shape[1]
        self.layers: nn.Module = nn.Linear(width, count)
        if hidden:
            self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, count))

    def forward(self, rows: Tensor, view: View, generator: torch.Generator) -> Tensor:
        batch = self.features[rows]  # (B, D)
        if view == "weak":
            batch = weak_features(batch, generator)
        elif view == "strong":
            batch = strong_features(batch, generator)
        return torch.as_tensor(self.layers(batch))


class TableMlp(Network):
    """An MLP on encoded columns; the strong view swaps columns with other rows."""

    def __init__(self, encoded: Tensor, columns: Tensor, count: int, hidden: int) -> None:
        super().__init__()
        self.encoded = encoded  # (N, D)
        self.columns = columns  # (D,)
        self.layers = nn.Sequential(
            nn.Linear(encoded.shape[1], hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, count),
        )

    def forward(self, rows: Tensor, view: View, generator: torch.Generator) -> Tensor:
        batch = self.encoded[rows]  # (B, D)
        if view != "plain":
            donors = self.encoded[torch.randint(len(self.encoded), (len(rows),), generator=generator)]
            rate = CORRUPTION if view == "strong" else CORRUPTION / 6
            batch = corrupt_columns(batch, self.columns, donors, rate, generator)
        return torch.as_tensor(self.layers(batch))


def standardise(features: FloatArray) -> Tensor:
    """Features ``(N, D)`` as float32 with mean 0 and standard deviation 1 per dimension."""
    values = np.asarray(features, dtype=np.float32)
    deviation = values.std(axis=0)
    scaled = (values - values.mean(axis=0)) / np.where(deviation > 1e-6, deviation, 1.0)
    return torch.from_numpy(np.ascontiguousarray(scaled, dtype=np.float32))


def column_tensor(columns: IntArray) -> Tensor:
    return torch.from_numpy(np.asarray(columns, dtype=np.int64))
