"""Attention of a batch's rows to the prefix that all of them share, without a copy of it for every row.

All rows' queries attend to the prefix in one product, and each row's to the row's own tokens; the sums that the two
softmaxes divide by say how much each weighs. As in Juravsky et al., "Hydragen: High-Throughput LLM Inference with Shared
Prefixes", 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

ATTENTION = "coral_shared_prefix"  # its name in a transformers model's settings
BLOCK = 16  # keys that the processor's kernel takes at once; a remainder is taken one by one

NOT_KNOWN = ("softcap", "s_aux", "position_bias")  # what some layers want of their attention beyond the usual


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """Tokens that were read: their keys and values ``(1, H, P, D)`` layer by layer, and the last layer ``(D,)`` at their end."""

    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    end: torch.Tensor
    length: int

    @property
    def apart(self) -> int:
        """Its last tokens, which stand among each row's own: so the long part is made of whole blocks."""
        return self.length % BLOCK

    def cache(self, rows: int) -> Any:
        """A transformers cache that holds it once for each row."""
        from transformers import DynamicCache

        cache = DynamicCache()
        for index, (keys, values) in enumerate(self.layers):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), index)
        return cache


def keys_beside(prefix: SharedPrefix, tokens: int) -> int:
    """How many keys a row of so many tokens has for itself: the prefix' last ones, its own, and empty ones up to a block."""
    return -(-(prefix.apart + tokens) // BLOCK) * BLOCK


def register() -> None:
    """Make the attention known to transformers under the name ``ATTENTION``."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(ATTENTION, attend)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    shared_prefix: SharedPrefix | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers calls it: ``(B, H, L, D)`` to ``(B, L, H, D)``; plain where there is no shared prefix.

    The mask is added to the scores of what :func:`keys_beside` counts.

    Raises:
        ValueError: the layer wants something that this attention can't do.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if shared_prefix is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **others)
    if any(others.get(name) is not None for name in NOT_KNOWN):
        raise ValueError(f"{type(module).__name__} wants one of {', '.join(NOT_KNOWN)}")
    keys, values = shared_prefix.layers[int(module.layer_idx)]  # type: ignore[arg-type]
    cut = shared_prefix.length - shared_prefix.apart
    width = keys_beside(shared_prefix, key.shape[2])
    own, own_total = _attend(
        query,
        _beside(keys[:, :, cut:], key, width),
        _beside(values[:, :, cut:], value, width),
        scaling,
        attention_mask,
    )
    own = own.transpose(1, 2)  # (B, L, H, D), as it lies in memory
    if not cut:
        return own, None
    rows, heads, length, size = query.shape
    together = query.transpose(1, 2).reshape(1, rows * length, heads, size).transpose(1, 2)
    far, far_total = _attend(together, keys[:, :, :cut], values[:, :, :cut], scaling)
    far = far.transpose(1, 2).view(own.shape)
    far_total = far_total.transpose(1, 2).view(rows, length, heads)
    share = torch.sigmoid(far_total - own_total.transpose(1, 2))[..., None].to(own.dtype)
    return torch.lerp(own, far, share), None


def _beside(shared: torch.Tensor, own: torch.Tensor, width: int) -> torch.Tensor:
    """The prefix' last keys (or values), the row's own, and zeros: ``(B, H, width, D)``."""
    rows, heads, tokens, size = own.shape
    empty = own.new_zeros(1).expand(rows, heads, width - shared.shape[2] - tokens, size)
    return torch.cat([shared.expand(rows, -1, -1, -1), own, empty], dim=2)


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The processor's attention, and the logarithm of what its softmax divides by, ``(B, H, L)``."""
    found: tuple[torch.Tensor, torch.Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, attn_mask=mask, scale=scaling
    )
    return found
