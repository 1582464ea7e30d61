"""From a corpus to what the networks see: checks, an order that does not depend on the upload, features, progress."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlcore.config import DistillConfig
from mlcore.corpus import Corpus, Distilled, NoisyLabels, Progress
from mlcore.errors import InvalidInputError, StoppedError
from mlcore.messages import Message
from mlcore.records import NO_LABEL, FloatArray, IntArray
from mlcore.slm.encoders import TextEncoder, encode_texts, load_encoder
from mlcore.slm.heads import (
    PIECE,
    FeatureHead,
    FineTunedEncoder,
    Network,
    TableMlp,
    column_tensor,
    standardise,
)
from mlcore.slm.projection import map_points
from mlcore.slm.trees import ColumnEncoder, encode_table
from mlcore.weights import resolve_weights
from mlcore.weights_embedded import installed_encoder

TABLE_HIDDEN = 64


def check_inputs(corpus: Corpus, noisy: NoisyLabels, config: DistillConfig) -> list[Message]:
    """Warnings about what can be learned from, but badly; InvalidInputError on what can't be learned from at all."""
    rows = len(corpus)
    if rows < 2:
        raise InvalidInputError("too_few_rows", rows=rows)
    if noisy.count < 2:
        raise InvalidInputError("too_few_labels", count=noisy.count)
    for name, values in (("given", noisy.given), ("verified", noisy.verified)):
        if values.shape != (rows,):
            raise InvalidInputError("array_shape", name=name, shape=str(values.shape), wanted=f"({rows},)")
        if values.min() < NO_LABEL or values.max() >= noisy.count:
            lowest, highest = int(values.min()), int(values.max())
            raise InvalidInputError(
                "label_range", name=name, lowest=lowest, highest=highest, most=noisy.count - 1
            )
    if noisy.probs is not None and noisy.probs.shape != (rows, noisy.count):
        raise InvalidInputError(
            "array_shape", name="probs", shape=str(noisy.probs.shape), wanted=f"({rows}, {noisy.count})"
        )
    if config.epochs < 1 or config.warmup_epochs < 0 or config.batch_size < 1:
        raise InvalidInputError("training_settings")
    if config.folds == 1 and config.method != "paper":
        raise InvalidInputError("one_fold")
    counts = np.bincount(noisy.known[noisy.known != NO_LABEL], minlength=noisy.count)
    if counts.sum() == 0:
        raise InvalidInputError("no_readable_label")
    warnings = []
    if (counts > 0).sum() == 1:
        warnings.append(Message("one_label_only"))
    elif (few := int(((counts > 0) & (counts < 10)).sum())) > 0:
        warnings.append(Message("rare_labels", {"count": few}))
    if (empty := sum(not text.strip() for text in corpus.texts)) > 0:
        warnings.append(Message("empty_rows", {"count": empty}))
    return warnings


def canonical_order(corpus: Corpus, noisy: NoisyLabels) -> IntArray:
    """An order of the rows that depends on their content only, so that the order of upload decides nothing."""
    keys = np.array(
        [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in corpus.texts]
    )
    return np.lexsort((noisy.verified, noisy.given, keys))


def reorder(corpus: Corpus, noisy: NoisyLabels, order: IntArray) -> tuple[Corpus, NoisyLabels]:
    table = None if corpus.table is None else corpus.table.iloc[order].reset_index(drop=True)
    probs = None if noisy.probs is None else noisy.probs[order]
    in_bulk = None if noisy.in_bulk is None else noisy.in_bulk[order]
    stands_for = None if noisy.stands_for is None else noisy.stands_for[order]
    labels = NoisyLabels(noisy.given[order], probs, noisy.verified[order], noisy.count, in_bulk, stands_for)
    texts = [whole_characters(corpus.texts[row]) for row in order]
    return Corpus(texts, table, corpus.column_kinds), labels


def whole_characters(text: str) -> str:
    """The text without lone surrogates, which can be neither encoded nor tokenised."""
    return text.encode("utf-8", "replace").decode("utf-8")


class Monitor:
    """Passes progress on, estimates the time left, and raises when the caller wants to stop."""

    def __init__(
        self,
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
        on_epoch: Callable[[FloatArray], None] = lambda probs: None,
    ) -> None:
        self.on_progress = on_progress
        self.on_epoch = on_epoch  # told of the probabilities (N, K), out of fold, after each epoch
        self.should_stop = should_stop
        self.begun = time.monotonic()
        self.phase = ""

    def report(self, progress: Progress, done: float) -> None:
        """``done`` is the share of the phase's work that is finished."""
        if self.should_stop():
            raise StoppedError
        kind = "features" if progress.phase == "features" else "training"
        if kind != self.phase:
            self.phase, self.begun = kind, time.monotonic()
        spent = time.monotonic() - self.begun
        left = spent * (1.0 - done) / done if done > 0.01 else None
        self.on_progress(replace(progress, seconds_left=left))

    def report_features(self, total: int) -> Callable[[int], None]:
        """What to call with the number of texts encoded, of so many."""
        return lambda done: self.report(Progress("features", batch=done, batches=total), done / total)

    def report_batch(
        self, at: Progress, batch: int, batches: int, loss: float, loss_unlabelled: float
    ) -> None:
        """Report a batch of one of the cross-fitted networks; ``at`` counts networks done and networks."""
        done = at.batch * batches + batch
        total = at.batches * batches
        step = replace(at, batch=done, batches=total, loss=loss, loss_unlabelled=loss_unlabelled)
        self.report(step, (at.epoch - 1 + done / total) / at.epochs)


@dataclass(frozen=True)
class Inputs:
    """What the networks see.

    ``features (N, D)`` float16 serve the map, the neighbours and the choice of demonstrations; ``matrix (N, D')`` is what
    a network or another classifier learns from: of texts float16, mapped to a file, and not standardised. ``build`` makes
    a network on it, ``rebuild`` a cheap one, for fitting again. ``warnings`` are about values that were not taken as they
    stand. ``encoder`` of texts and its name, or ``columns`` of a table, are what further rows are prepared with.
    """

    features: FloatArray
    matrix: FloatArray
    build: Callable[[], Network]
    defaults: Defaults
    rebuild: Callable[[], Network]
    warnings: tuple[Message, ...] = ()
    encoder: TextEncoder | None = None
    encoder_name: str = ""
    columns: tuple[ColumnEncoder, ...] = ()

    @cached_property
    def points(self) -> FloatArray:
        """The map of the rows, see :func:`map_points`: made once, before the first epoch is shown on it."""
        return map_points(self.features)


@dataclass(frozen=True)
class Defaults:
    """A network's own settings: ``ridge`` is the weight of the squared weights in the loss."""

    folds: int
    learning_rate: float
    ridge: float
    average: float = 0.0
    threads: int = 1  # small products only lose time to a second thread; 0 = as many as torch would take


HEAD = Defaults(folds=5, learning_rate=1e-3, ridge=0.1)
TABLE = Defaults(folds=5, learning_rate=1e-3, ridge=1e-3)
# Two halves, each judged by the network that was trained on the other.
FINETUNE = Defaults(folds=2, learning_rate=2e-5, ridge=0.0, average=0.99, threads=0)


def prepare(
    corpus: Corpus,
    config: DistillConfig,
    count: int,
    *,
    cache_dir: Path,
    weights_dir: Path | None,
    monitor: Monitor,
    hub_token: str = "",
) -> Inputs:
    """Encode texts (cached) or columns, and say how to build a network on them."""
    if corpus.table is not None:
        encoded = encode_table(corpus.table, corpus.column_kinds)
        values, columns = torch.from_numpy(encoded.values), column_tensor(encoded.columns)
        build_mlp = partial(TableMlp, values, columns, count, TABLE_HIDDEN)
        half = encoded.values.astype(np.float16)
        return Inputs(
            half, encoded.values, build_mlp, TABLE, build_mlp, encoded.warnings, columns=encoded.encoders
        )
    encoder, name = open_encoder(
        config.encoder, cache_dir=cache_dir, weights_dir=weights_dir, hub_token=hub_token
    )
    warnings = []
    if name != config.encoder:
        warnings.append(Message("encoder_replaced", {"name": config.encoder, "other": name}))
    on_batch = monitor.report_features(len(corpus))
    pooled = finite(encode_texts(corpus.texts, encoder, cache_dir=cache_dir, on_batch=on_batch))
    build_head = partial(FeatureHead, standardise(pooled), count)
    build: Callable[[], Network] = build_head
    defaults = HEAD
    if choose_network(config) == "finetune":
        build, defaults = partial(build_finetuned, encoder, list(corpus.texts), count), FINETUNE
    embedding = pooled[:, : encoder.dimensions]
    return Inputs(embedding, pooled, build, defaults, build_head, tuple(warnings), encoder, name)


def open_encoder(
    name: str, *, cache_dir: Path, weights_dir: Path | None, hub_token: str
) -> tuple[TextEncoder, str]:
    """The encoder of that name, or of the one that takes its place where it is not installed, with the name of it."""
    name = installed_encoder(name)
    folder = resolve_weights(name, weights_dir=weights_dir, cache_dir=cache_dir, token=hub_token)
    return load_encoder(folder), name


def finite(features: FloatArray) -> FloatArray:
    """The features ``(N, D)`` with 0 for what is no finite number, in place: a broken encoder must not spoil the rest."""
    for start in range(0, len(features), PIECE):
        np.nan_to_num(features[start : start + PIECE], copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return features


def choose_network(config: DistillConfig) -> str:
    """``finetune`` or ``head`` for texts: what the settings say, else what the hardware can."""
    if config.network in ("finetune", "head"):
        return config.network
    return "finetune" if torch.cuda.is_available() else "head"


def build_finetuned(encoder: TextEncoder, texts: list[str], count: int) -> Network:
    return FineTunedEncoder(encoder, texts, count).to("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Torch uses ``count`` threads inside; 0 changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def restore_order(result: Distilled, order: IntArray) -> Distilled:
    """Put every array back into the order of the upload."""
    back = np.argsort(order)
    per_row: dict[str, Any] = {
        item.name: values[back]
        for item in fields(result)
        if isinstance(values := getattr(result, item.name), np.ndarray)
    }
    return replace(result, **per_row | {"order": order[result.order]})
