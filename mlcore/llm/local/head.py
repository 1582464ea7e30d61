"""A language model's last step: from its hidden state to logits, for the whole vocabulary or for a few tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import linear

# Logits that are in memory at once: few enough to stay in a processor's own, or summing them takes longer than making them.
PLACES, WORDS = 512, 1024


class OutputHead:
    """The output layer of a transformers model, with what some architectures do behind it.

    Granite divides the logits, Gemma 2 bends them (``cap * tanh(logits / cap)``); Phi's layer has a bias.
    """

    def __init__(self, model: Any) -> None:
        self._layer = model.get_output_embeddings()
        self._divisor = float(getattr(model.config, "logits_scaling", None) or 1.0)
        self._cap = float(getattr(model.config, "final_logit_softcapping", None) or 0.0)

    def log_totals(self, hidden: torch.Tensor) -> torch.Tensor:
        """What the softmax divides by, as a logarithm: ``(B, P, D)`` to ``(B, P)``."""
        totals = [self._log_total(part) for part in torch.split(hidden.flatten(0, 1), PLACES)]
        return torch.cat(totals).view(hidden.shape[:2])

    def _log_total(self, hidden: torch.Tensor) -> torch.Tensor:
        """``(P, D)`` to ``(P,)``."""
        weight, bias = self._layer.weight, self._layer.bias
        parts = []
        for start in range(0, len(weight), WORDS):
            words = slice(start, start + WORDS)
            logits = linear(hidden, weight[words], None if bias is None else bias[words])
            parts.append(self._finish(logits.float()).logsumexp(-1))
        return torch.stack(parts).logsumexp(0)

    def logits(self, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """One token's logit at each place, in single precision: ``(B, P, D)`` and ``(P,)`` or ``(B, P)`` to ``(B, P)``.

        The layer's own product may be rounded to bf16: good enough for a sum over the vocabulary, too coarse to
        compare two names.
        """
        logits = (hidden.float() * self._layer.weight[tokens].float()).sum(-1)
        if self._layer.bias is not None:
            logits = logits + self._layer.bias[tokens].float()
        return self._finish(logits)

    def _finish(self, logits: torch.Tensor) -> torch.Tensor:
        logits = logits / self._divisor
        return self._cap * torch.tanh(logits / self._cap) if self._cap else logits
