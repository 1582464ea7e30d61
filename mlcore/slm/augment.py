"""Weak and strong views of a batch, for FixMatch (Sohn et al., NeurIPS 2020).

A weak view keeps the meaning surely, a strong one probably. On frozen features: dropout, and mixing with another row
of the batch (mixup at the features, Zhang et al. 2018). On token ids: cutoff of single tokens (Shen et al., "A simple
but tough-to-beat data augmentation approach for NLU", 2020). On table columns: values drawn from other rows (SCARF,
Bahri et al., ICLR 2022). All take a generator, so that a seed decides everything.
"""

from __future__ import annotations

import torch
from torch import Tensor

STRONG_DROPOUT = 0.4
STRONG_MIX = 0.2
CUTOFF = 0.15
CORRUPTION = 0.3


def drop_features(features: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Set each feature ``(B, D)`` to zero with probability ``rate``; scale the rest so that the mean stays."""
    keep = torch.rand(features.shape, generator=generator) >= rate  # (B, D)
    return features * keep / (1.0 - rate)


def mix_features(features: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Mix into each row of ``(B, D)`` up to ``share`` of another row of the batch."""
    other = torch.randperm(len(features), generator=generator)
    part = share * torch.rand((len(features), 1), generator=generator)  # (B, 1)
    return features * (1.0 - part) + features[other] * part


def strong_features(features: Tensor, generator: torch.Generator) -> Tensor:
    return drop_features(mix_features(features, STRONG_MIX, generator), STRONG_DROPOUT, generator)


def cut_tokens(attention: Tensor, special: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Hide single tokens: an attention mask ``(B, T)`` with each ordinary token off with probability ``rate``.

    Special tokens stay, and so does a row that would lose all of its ordinary tokens.
    """
    ordinary = (attention == 1) & (special == 0)
    cut = (torch.rand(attention.shape, generator=generator) < rate) & ordinary
    emptied = (cut == ordinary).all(dim=1, keepdim=True)
    return attention.masked_fill(cut & ~emptied, 0)


def corrupt_columns(
    encoded: Tensor, columns: Tensor, donors: Tensor, rate: float, generator: torch.Generator
) -> Tensor:
    """Replace whole columns of encoded table rows by those of donor rows.

    Args:
        encoded: ``(B, D)`` encoded rows; a column of the table is one or more dimensions.
        columns: ``(D,)``, the number of the table column that each dimension encodes.
        donors: ``(B, D)``, rows of the same table to take values from.
        rate: probability for each row and column.
        generator: decides which.
    """
    count = int(columns.max()) + 1
    replaced = torch.rand((len(encoded), count), generator=generator) < rate  # (B, columns)
    return torch.where(replaced[:, columns], donors, encoded)
