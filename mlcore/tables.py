"""Columns of a table as numbers: what is numeric, what is a category, what is text, and what is missing.

All columns come as strings. Each becomes one or more dimensions; ``Encoded.columns`` says which.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlcore.records import FloatArray, IntArray

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-"})
MOST_CATEGORIES = 50
NUMERIC_SHARE = 0.95
MOST_WORDS = 64


@dataclass(frozen=True)
class Encoded:
    """``values (N, D)`` float32, and for each dimension the number of its table column ``columns (D,)``."""

    values: FloatArray
    columns: IntArray
    kinds: dict[str, str]


def encode_table(table: pd.DataFrame) -> Encoded:
    """Encode every column: numbers by rank, few-valued columns by indicators, other text by its commonest words.

    Args:
        table: N rows of strings; an empty string, ``NA``, ``?`` and the like are missing.

    Returns:
        Numbers without gaps; a numeric column with missing values has an indicator beside it.
    """
    blocks: list[FloatArray] = []
    columns: list[int] = []
    kinds: dict[str, str] = {}
    for number, name in enumerate(table.columns):
        texts = table[name].astype(str).str.strip()
        kind = column_kind(texts)
        kinds[str(name)] = kind
        block = _ENCODE[kind](texts)
        blocks.append(block)
        columns += [number] * block.shape[1]
    values = np.concatenate(blocks, axis=1) if blocks else np.zeros((len(table), 0), dtype=np.float32)
    if values.shape[1] == 0:
        values, columns = np.zeros((len(table), 1), dtype=np.float32), [0]
    return Encoded(values.astype(np.float32), np.array(columns, dtype=np.int64), kinds)


def column_kind(texts: pd.Series) -> str:
    """``numeric``, ``category``, ``text`` or ``empty``."""
    present = texts[~_is_missing(texts)]
    if len(present) == 0 or (present.nunique() < 2 and len(present) == len(texts)):
        return "empty"
    if pd.to_numeric(present, errors="coerce").notna().mean() >= NUMERIC_SHARE:
        return "numeric"
    return "category" if present.nunique() <= MOST_CATEGORIES else "text"


def _is_missing(texts: pd.Series) -> pd.Series:
    return texts.str.lower().isin(MISSING)


def _encode_numeric(texts: pd.Series) -> FloatArray:
    numbers = pd.to_numeric(texts.mask(_is_missing(texts)), errors="coerce").replace(
        [np.inf, -np.inf], np.nan
    )
    missing = numbers.isna().to_numpy()
    ranks = (numbers.rank(pct=True).to_numpy(dtype=np.float64) - 0.5) * np.sqrt(12.0)
    spread = float(numbers.std()) if (~missing).sum() > 1 else 0.0
    scaled = (
        ((numbers - numbers.mean()) / spread).to_numpy(dtype=np.float64)
        if spread > 0
        else np.zeros(len(texts))
    )
    parts = [np.nan_to_num(ranks), np.clip(np.nan_to_num(scaled), -4, 4)]
    if missing.any():
        parts.append(missing.astype(np.float64))
    return np.stack(parts, axis=1)


def _encode_category(texts: pd.Series) -> FloatArray:
    lowered = texts.str.lower().mask(_is_missing(texts), "")
    return np.stack(
        [(lowered == value).to_numpy(dtype=np.float64) for value in sorted(lowered.unique())], axis=1
    )


def _encode_text(texts: pd.Series) -> FloatArray:
    words = texts.str.lower().str.findall(r"[^\W\d_]+").map(set)
    counts = words.explode().value_counts()
    frequent = counts[(counts >= max(5, 0.01 * len(texts))) & (counts < len(texts))]
    chosen = sorted(frequent.index, key=lambda word: (-int(frequent[word]), str(word)))[:MOST_WORDS]
    length = _encode_numeric(texts.str.len().astype(str))
    missing = _is_missing(texts).to_numpy(dtype=np.float64)[:, None]
    indicators = [np.array([word in row for row in words], dtype=np.float64)[:, None] for word in chosen]
    return np.concatenate([length, missing, *indicators], axis=1)


def _encode_empty(texts: pd.Series) -> FloatArray:
    return np.zeros((len(texts), 0))


_ENCODE = {
    "numeric": _encode_numeric,
    "category": _encode_category,
    "text": _encode_text,
    "empty": _encode_empty,
}
