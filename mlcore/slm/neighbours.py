"""Rows that look alike: cosine similarity of their features. NumPy only, so that a web process can use it."""

from __future__ import annotations

import numpy as np

from mlcore.records import FloatArray, IntArray


def unit_rows(features: FloatArray) -> FloatArray:
    """The features ``(N, D)`` in float32, each row of length one; rows without a direction stay zero."""
    values: FloatArray = np.nan_to_num(np.array(features, dtype=np.float32), copy=False)
    lengths = np.sqrt(np.einsum("nd,nd->n", values, values))[:, None]
    values /= np.where(lengths > 0, lengths, 1.0)
    return values


def nearest_rows(pool: FloatArray, row: FloatArray, *, count: int) -> tuple[IntArray, FloatArray]:
    """The rows of a pool most like one row, the most similar first.

    Args:
        pool: unit features ``(N, D)``.
        row: unit features ``(D,)``.

    Returns:
        Places in the pool and cosine similarities, both ``(min(count, N),)``.
    """
    similarity = pool @ row
    count = min(count, len(similarity))
    best = np.argpartition(-similarity, count - 1)[:count] if count else np.empty(0, dtype=np.int64)
    best = best[np.argsort(-similarity[best], kind="stable")]
    return best, similarity[best]
