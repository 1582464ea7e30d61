"""Columns of a table as numbers, by their kind; missing values are marked.

All columns come as strings. Each becomes one or more dimensions; ``Encoded.columns`` says which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlcore.column_kinds import MISSING, MOST_CATEGORIES, Kind, guess_kind
from mlcore.messages import Message
from mlcore.records import FloatArray, IntArray

MOST_WORDS = 64


@dataclass(frozen=True)
class Encoded:
    """``values (N, D)`` float32, and for each dimension the number of its table column ``columns (D,)``.

    ``warnings``: about values that were not taken as they stand.
    """

    values: FloatArray
    columns: IntArray
    kinds: dict[str, Kind]
    warnings: tuple[Message, ...] = ()


def encode_table(table: pd.DataFrame, kinds: Mapping[str, Kind] | None = None) -> Encoded:
    """Encode every column: numbers by rank, categories by indicators, text by its commonest words.

    Args:
        table: N rows of strings; an empty string, ``NA``, ``?`` and the like are missing.
        kinds: what a person said that columns hold, by name; the kind of the others is guessed from all their values.

    Returns:
        Numbers without gaps; a numeric column with missing values has an indicator beside it. What is no number counts as missing
        there, and a warning says how often.
    """
    blocks: list[FloatArray] = []
    columns: list[int] = []
    used: dict[str, Kind] = {}
    warnings: list[Message] = []
    for number, name in enumerate(table.columns):
        texts = table[name].astype(str).str.strip()
        kind = (kinds or {}).get(str(name)) or guess_kind(texts.tolist())
        used[str(name)] = kind
        if kind == "number" and (strange := int((_numbers(texts).isna() & ~_is_missing(texts)).sum())):
            warnings.append(Message("not_numbers", {"count": strange, "column": str(name)}))
        block = _ENCODE[kind](texts)
        blocks.append(block)
        columns += [number] * block.shape[1]
    values = np.concatenate(blocks, axis=1) if blocks else np.zeros((len(table), 0), dtype=np.float32)
    if values.shape[1] == 0:
        values, columns = np.zeros((len(table), 1), dtype=np.float32), [0]
    return Encoded(values.astype(np.float32), np.array(columns, dtype=np.int64), used, tuple(warnings))


def _is_missing(texts: pd.Series) -> pd.Series:
    return texts.str.lower().isin(MISSING)


def _numbers(texts: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(texts.mask(_is_missing(texts)), errors="coerce")
    return numbers.replace([np.inf, -np.inf], np.nan)


def _encode_number(texts: pd.Series) -> FloatArray:
    numbers = _numbers(texts)
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
    """An indicator for each value, missing being one; of more than the most categories, for the commonest only."""
    lowered = texts.str.lower().mask(_is_missing(texts), "")
    counts = lowered.value_counts()
    chosen = sorted(counts.index, key=lambda value: (-int(counts[value]), value))[: MOST_CATEGORIES + 1]
    return np.stack([(lowered == value).to_numpy(dtype=np.float64) for value in sorted(chosen)], axis=1)


def _encode_text(texts: pd.Series) -> FloatArray:
    words = texts.str.lower().str.findall(r"[^\W\d_]+").map(set)
    counts = words.explode().value_counts()
    frequent = counts[(counts >= max(5, 0.01 * len(texts))) & (counts < len(texts))]
    chosen = sorted(frequent.index, key=lambda word: (-int(frequent[word]), str(word)))[:MOST_WORDS]
    length = _encode_number(texts.str.len().astype(str))
    missing = _is_missing(texts).to_numpy(dtype=np.float64)[:, None]
    indicators = [np.array([word in row for row in words], dtype=np.float64)[:, None] for word in chosen]
    return np.concatenate([length, missing, *indicators], axis=1)


def _encode_empty(texts: pd.Series) -> FloatArray:
    return np.zeros((len(texts), 0))


_ENCODE = {
    "number": _encode_number,
    "category": _encode_category,
    "text": _encode_text,
    "empty": _encode_empty,
}
