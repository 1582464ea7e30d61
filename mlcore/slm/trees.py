"""Columns of a table as numbers, by their kind; missing values are marked.

All columns come as strings. Each becomes one or more dimensions; ``Encoded.columns`` says which. What was found in the
rows is kept, so that further rows are encoded alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlcore.column_kinds import MISSING, MOST_CATEGORIES, Kind, guess_kind
from mlcore.messages import Message
from mlcore.records import FloatArray, IntArray

MOST_WORDS = 64
MOST_KNOTS = 1024  # values of a number column whose rank is kept; between them it is interpolated


@dataclass(frozen=True)
class ColumnEncoder:
    """How one column becomes numbers. ``state`` is what was found in the rows that it was fitted to, as JSON."""

    name: str
    kind: Kind
    state: dict[str, Any]

    @classmethod
    def fit(cls, name: str, kind: Kind, texts: pd.Series) -> ColumnEncoder:
        """Find what values of this kind are compared with."""
        return cls(name, kind, _FIT[kind](texts))

    def encode(self, texts: pd.Series) -> FloatArray:
        """The column's dimensions ``(N, width)``, whose number does not depend on these rows."""
        return np.asarray(_ENCODE[self.kind](texts, self.state))


@dataclass(frozen=True)
class Encoded:
    """``values (N, D)`` float32, and for each dimension the number of its table column ``columns (D,)``.

    ``encoders``: of the columns, for further rows. ``warnings``: about values that were not taken as they stand.
    """

    values: FloatArray
    columns: IntArray
    encoders: tuple[ColumnEncoder, ...]
    warnings: tuple[Message, ...] = ()

    @property
    def kinds(self) -> dict[str, Kind]:
        return {encoder.name: encoder.kind for encoder in self.encoders}


def encode_table(table: pd.DataFrame, kinds: Mapping[str, Kind] | None = None) -> Encoded:
    """Encode every column: numbers by rank, categories by indicators, text by its commonest words.

    Args:
        table: N rows of strings; an empty string, ``NA``, ``?`` and the like are missing.
        kinds: what a person said that columns hold, by name; the kind of the others is guessed from all their values.

    Returns:
        Numbers without gaps; a numeric column with missing values has an indicator beside it. What is no number counts as missing
        there, and a warning says how often.
    """
    encoders: list[ColumnEncoder] = []
    warnings: list[Message] = []
    for name in table.columns:
        texts = _stripped(table[name])
        kind = (kinds or {}).get(str(name)) or guess_kind(texts.tolist())
        if kind == "number" and (strange := int((_numbers(texts).isna() & ~_is_missing(texts)).sum())):
            warnings.append(Message("not_numbers", {"count": strange, "column": str(name)}))
        encoders.append(ColumnEncoder.fit(str(name), kind, texts))
    values, columns = encode_columns(table, encoders)
    return Encoded(values, columns, tuple(encoders), tuple(warnings))


def encode_columns(table: pd.DataFrame, encoders: Sequence[ColumnEncoder]) -> tuple[FloatArray, IntArray]:
    """``values (N, D)`` float32 by encoders that are fitted, and the column of each dimension ``(D,)``."""
    blocks = [encoder.encode(_stripped(table[encoder.name])) for encoder in encoders]
    columns = np.repeat(np.arange(len(blocks)), [block.shape[1] for block in blocks])
    if len(columns) == 0:
        return np.zeros((len(table), 1), dtype=np.float32), np.zeros(1, dtype=np.int64)
    return np.concatenate(blocks, axis=1).astype(np.float32), columns.astype(np.int64)


def _stripped(column: pd.Series) -> pd.Series:
    return column.astype(str).str.strip()


def _is_missing(texts: pd.Series) -> pd.Series:
    return texts.str.lower().isin(MISSING)


def _numbers(texts: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(texts.mask(_is_missing(texts)), errors="coerce")
    return numbers.replace([np.inf, -np.inf], np.nan)


def _fit_number(texts: pd.Series) -> dict[str, Any]:
    """The values with their ranks as shares of the rows, thinned out evenly where there are many; mean and deviation."""
    numbers = _numbers(texts)
    known = numbers.dropna()
    values, counts = np.unique(known.to_numpy(dtype=np.float64), return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2) / max(len(known), 1)
    kept = np.unique(np.linspace(0, max(len(values) - 1, 0), MOST_KNOTS).round().astype(np.int64))[
        : len(values)
    ]
    return {
        "values": values[kept].tolist(),
        "ranks": ranks[kept].tolist(),
        "mean": float(known.mean()) if len(known) else 0.0,
        "spread": float(known.std()) if len(known) > 1 else 0.0,
        "missing": bool(numbers.isna().any()),
    }


def _encode_number(texts: pd.Series, state: dict[str, Any]) -> FloatArray:
    numbers = _numbers(texts).to_numpy(dtype=np.float64)
    missing = np.isnan(numbers)
    ranks = (
        np.interp(numbers, state["values"], state["ranks"]) if state["values"] else np.full(len(texts), 0.5)
    )
    scaled = (numbers - state["mean"]) / state["spread"] if state["spread"] > 0 else np.zeros(len(texts))
    parts = [np.nan_to_num((ranks - 0.5) * np.sqrt(12.0)), np.clip(np.nan_to_num(scaled), -4, 4)]
    if state["missing"]:
        parts.append(missing.astype(np.float64))
    return np.stack(parts, axis=1)


def _fit_category(texts: pd.Series) -> dict[str, Any]:
    """The values, missing being one; of more than the most categories, the commonest only."""
    counts = _folded(texts).value_counts()
    chosen = sorted(counts.index, key=lambda value: (-int(counts[value]), value))[: MOST_CATEGORIES + 1]
    return {"values": sorted(chosen)}


def _encode_category(texts: pd.Series, state: dict[str, Any]) -> FloatArray:
    folded = _folded(texts)
    return np.stack([(folded == value).to_numpy(dtype=np.float64) for value in state["values"]], axis=1)


def _folded(texts: pd.Series) -> pd.Series:
    return texts.str.lower().mask(_is_missing(texts), "")


def _fit_text(texts: pd.Series) -> dict[str, Any]:
    counts = _words(texts).explode().value_counts()
    frequent = counts[(counts >= max(5, 0.01 * len(texts))) & (counts < len(texts))]
    chosen = sorted(frequent.index, key=lambda word: (-int(frequent[word]), str(word)))[:MOST_WORDS]
    return {"words": chosen, "length": _fit_number(texts.str.len().astype(str))}


def _encode_text(texts: pd.Series, state: dict[str, Any]) -> FloatArray:
    words = _words(texts)
    length = _encode_number(texts.str.len().astype(str), state["length"])
    missing = _is_missing(texts).to_numpy(dtype=np.float64)[:, None]
    indicators = [
        np.array([word in row for row in words], dtype=np.float64)[:, None] for word in state["words"]
    ]
    return np.concatenate([length, missing, *indicators], axis=1)


def _words(texts: pd.Series) -> pd.Series:
    return texts.str.lower().str.findall(r"[^\W\d_]+").map(set)


_FIT: dict[Kind, Callable[[pd.Series], dict[str, Any]]] = {
    "number": _fit_number,
    "category": _fit_category,
    "text": _fit_text,
    "empty": lambda texts: {},
}
_ENCODE: dict[Kind, Callable[[pd.Series, dict[str, Any]], FloatArray]] = {
    "number": _encode_number,
    "category": _encode_category,
    "text": _encode_text,
    "empty": lambda texts, state: np.zeros((len(texts), 0)),
}
