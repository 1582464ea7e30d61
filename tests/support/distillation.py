"""Small corpora of two topics, an encoder for them, and a run of the whole distillation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlcore.config import DistillConfig
from mlcore.corpus import Corpus, Distilled, NoisyLabels, Progress
from mlcore.distill.distill import distill_labels
from mlcore.records import NO_LABEL
from tests.support.tiny_encoder import MARKS, save_encoder

WORDS = {0: ["goal", "match", "team", "coach", "league"], 1: ["bank", "stock", "market", "price", "trade"]}
COMMON = ["the", "a", "of", "on", "today", "after", "with", "new", "big", "said"]


def save_tiny_encoder(root: Path) -> None:
    """A tiny encoder of random weights, in the folder ``tiny``."""
    words = [*COMMON, *WORDS[0], *WORDS[1]]
    save_encoder(root / "tiny", words, width=16, layers=3, feed_forward=32)
    (root / "tiny" / "vocab.txt").write_text("\n".join([*MARKS, *words]), encoding="utf-8")


def make_corpus(rows: int, *, wrong: float = 0.2, seed: int = 0) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts of two topics, their true labels, and labels of which a share is wrong."""
    rng = np.random.default_rng(seed)
    truth = np.arange(rows) % 2
    texts = [
        " ".join([*rng.choice(WORDS[int(label)], 3), *rng.choice(COMMON, 4), f"{number}"])
        for number, label in enumerate(truth)
    ]
    given = np.where(rng.random(rows) < wrong, 1 - truth, truth)
    return texts, truth, given


def text_table(texts: list[str]) -> pd.DataFrame:
    """The first three words of each text as columns."""
    return pd.DataFrame([text.split()[:3] for text in texts], columns=["one", "two", "three"])


def noisy(given: np.ndarray, *, count: int = 2, verified: np.ndarray | None = None) -> NoisyLabels:
    nobody = np.full(len(given), NO_LABEL)
    return NoisyLabels(given, None, nobody if verified is None else verified, count)


def run(
    texts: list[str],
    labels: NoisyLabels,
    weights_dir: Path,
    cache: Path,
    *,
    table: pd.DataFrame | None = None,
    checkpoints: Path | None = None,
    stop_after: int = 1 << 30,
    **settings: Any,
) -> Distilled:
    seen: list[Progress] = []
    chosen: dict[str, Any] = {
        "encoder": "tiny",
        "network": "head",
        "epochs": 5,
        "warmup_epochs": 2,
        **settings,
    }
    config = DistillConfig(**chosen)
    return distill_labels(
        Corpus(texts, table),
        labels,
        config,
        on_progress=seen.append,
        should_stop=lambda: sum(each.phase != "features" for each in seen) >= stop_after,
        cache_dir=cache,
        checkpoint_dir=checkpoints,
        weights_dir=weights_dir,
    )


def same(first: Distilled, second: Distilled) -> None:
    for name in ("probs", "prediction", "losses", "clean_prob", "rank", "label", "risk", "flag", "order"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), atol=1e-4, err_msg=name)
