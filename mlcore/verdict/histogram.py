"""The losses of a finished training as a histogram, with what the fitted mixtures expect in each bin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr

from mlcore.corpus import Mixture
from mlcore.records import BoolArray, FloatArray, IntArray

BINS = 30
# Of the rows; the few highest losses share the last bin, so that they don't squeeze the rest.
SHOWN_SHARE = 0.995


def loss_histogram(
    losses: FloatArray,
    labels: IntArray,
    clean_prob: FloatArray,
    mixtures: Sequence[Mixture],
    *,
    threshold: float,
    bins: int = BINS,
) -> dict[str, Any]:
    """Count losses per class, beside the rows that each Gaussian expects in the same bin.

    Args:
        losses: ``(N,)``, NaN for a row without a label.
        labels: ``(N,)``, the labels that the losses belong to.
        clean_prob: ``(N,)``, the mixtures' probability that the label is right.
        mixtures: one per class, or one with label -1 for all rows.
        threshold: rows with a clean probability above it count as clean.

    Returns:
        ``edges`` (bins + 1), the last bin open to the right, and ``parts``: for each mixture its label, rows, ``counts``
        (bins), ``clean`` and ``noisy`` (bins, the expected rows of the two Gaussians; empty where ranks were used),
        ``boundary`` (highest loss of a clean row, None without one) and ``fallback`` (a stored message or None). Both
        are empty without a loss.
    """
    known = np.isfinite(losses)
    if not known.any():
        return {"edges": [], "parts": []}
    low, high = float(losses[known].min()), float(np.quantile(losses[known], SHOWN_SHARE))
    edges = np.linspace(low, max(high, low + 1e-6), bins + 1)
    parts = [
        _part(
            losses,
            known if mixture.label < 0 else known & (labels == mixture.label),
            clean_prob > threshold,
            mixture,
            edges,
        )
        for mixture in mixtures
    ]
    return {"edges": [round(float(edge), 4) for edge in edges], "parts": parts}


def _part(
    losses: FloatArray, rows: BoolArray, clean: BoolArray, mixture: Mixture, edges: FloatArray
) -> dict[str, Any]:
    inner = edges[1:-1]
    counts = np.bincount(np.searchsorted(inner, losses[rows], side="right"), minlength=len(edges) - 1)
    expected = [] if mixture.fallback else _expected_rows(mixture, inner)
    kept = losses[rows & clean]
    return {
        "label": mixture.label,
        "rows": int(rows.sum()),
        "counts": counts.tolist(),
        "clean": expected[0] if expected else [],
        "noisy": expected[1] if expected else [],
        "boundary": round(float(kept.max()), 4) if len(kept) else None,
        "fallback": mixture.fallback and mixture.fallback.as_json(),
    }


def _expected_rows(mixture: Mixture, inner: FloatArray) -> list[list[float]]:
    """The rows that each of the two Gaussians expects in every bin; the outer bins are open."""
    bounds = np.concatenate([[-np.inf], inner, [np.inf]])
    return [
        [
            round(float(rows), 2)
            for rows in mixture.rows * weight * np.diff(ndtr((bounds - mean) / max(deviation, 1e-9)))
        ]
        for weight, mean, deviation in zip(mixture.weights, mixture.means, mixture.deviations, strict=True)
    ]
