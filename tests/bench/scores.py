"""What the parts of the quality bench share: our verdict, reading of corpora, and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from mlcore.config import DistillConfig, Method
from mlcore.corpus import LIKELY_RIGHT, Corpus, Distilled, NoisyLabels
from mlcore.distill.distill import distill_labels
from mlcore.records import NO_LABEL, FloatArray, IntArray
from mlcore.verdict.review_order import RISKY
from tests.bench.harness import Options

PEERS: tuple[Literal["plain", "paper", "adamatch"], ...] = ("plain", "paper", "adamatch")


def ours(
    corpus: Corpus,
    given: IntArray,
    count: int,
    cache: Path,
    seed: int,
    *,
    probs: FloatArray | None = None,
    verified: IntArray | None = None,
    method: Method = "coral",
) -> Distilled:
    """The result of a whole distillation, by our method unless another one is named."""
    nobody = np.full(len(given), NO_LABEL)
    labels = NoisyLabels(given, probs, nobody if verified is None else verified, count)
    return distill_labels(corpus, labels, DistillConfig(seed=seed, method=method), cache_dir=cache)


def read(options: Options, name: str) -> pd.DataFrame:
    return pd.read_csv(options.corpus(name), dtype=str, keep_default_na=False)


def seeds(options: Options) -> tuple[int, ...]:
    return (0,) if options.quick else tuple(options.extra.seeds)


def index_labels(labels: pd.Series, names: list[str]) -> IntArray:
    return np.array([names.index(label) if label in names else NO_LABEL for label in labels], dtype=np.int64)


def accuracy(labels: IntArray, truth: IntArray) -> float:
    return float((labels == truth).mean())


def mean(values: Any) -> float:
    return float(np.mean(list(values)))


def class_balance(labels: IntArray, count: int) -> FloatArray:
    return np.asarray(np.bincount(labels, minlength=count) / len(labels))


def entropy(probs: FloatArray) -> FloatArray:
    return np.asarray(-(probs * np.log(np.maximum(probs, 1e-12))).sum(axis=1))


def calibration_error(risk: FloatArray, wrong: np.ndarray, *, bins: int = 15) -> float:
    """Mean distance of predicted and actual error rate over equally wide bins of the risk, weighted by rows."""
    place = np.minimum((risk * bins).astype(int), bins - 1)
    parts = [
        abs(risk[place == b].mean() - wrong[place == b].mean()) * (place == b).mean()
        for b in np.unique(place)
    ]
    return float(np.sum(parts))


def count_contradictions(result: Distilled) -> int:
    """Rows whose flag or place in the queue contradicts their risk: called right above the threshold or not called right
    below it, or queued before a row of higher risk. Rows that people decided are not counted."""
    queued = result.order[result.risk[result.order] > 0.0]
    called_right = result.flag[queued] == LIKELY_RIGHT
    risk = result.risk[queued]
    early = risk < np.maximum.accumulate(risk[::-1])[::-1]
    return int(((called_right != (risk <= RISKY)) | early).sum())


def score_flags(result: Distilled, truth: IntArray) -> dict[str, float]:
    """How honest the risk is, and of how many rows of each flag the final label is wrong."""
    wrong = result.label != truth
    shares = {
        name: float(wrong[result.flag == number].mean())
        for number, name in enumerate(("right", "wrong", "inconsistent"))
        if (result.flag == number).any()
    }
    return {
        "risk_error": calibration_error(result.risk, wrong),
        **{f"wrong_if_{name}": value for name, value in shares.items()},
    }


def margin(cells: Sequence[Mapping[str, float]]) -> float:
    """Ours against the best other method that trains a model, each averaged over the seeds of one corpus."""
    names = [name for name in cells[0] if not name.startswith(("ours", "labels", "risk", "wrong"))]
    return mean(cell["ours"] for cell in cells) - max(mean(cell[name] for cell in cells) for name in names)
