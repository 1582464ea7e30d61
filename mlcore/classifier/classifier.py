"""The kept small model: what a run leaves behind to label further rows without a language model.

A folder of plain files: ``config.json`` (labels, columns, calibration), ``model.safetensors``, ``vocabulary.json``, and
``encoder/`` where the encoder was trained too or was packed with it. Nothing in it is code, and nothing is pickled.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from mlcore.classifier.calibration import NETWORK, Calibration
from mlcore.classifier.ngrams import NgramModel
from mlcore.errors import EngineError, InvalidInputError
from mlcore.prompting.tasks import task_named
from mlcore.records import FloatArray, IntArray, Row
from mlcore.slm.encoders import TextEncoder, encode_texts, load_encoder
from mlcore.slm.fixmatch import predict_rows
from mlcore.slm.heads import FeatureHead, FineTunedEncoder, Network, Standardised, TableMlp, column_tensor
from mlcore.slm.inputs import TABLE_HIDDEN, finite
from mlcore.slm.trees import ColumnEncoder, encode_columns
from mlcore.weights import check_folder, resolve_weights

FORMAT = 1
CONFIG, TENSORS, VOCABULARY, ENCODER = "config.json", "model.safetensors", "vocabulary.json", "encoder"
DEFAULT_CACHE = Path("~/.cache/coral")

Rows = Sequence[str] | Sequence[Mapping[str, Any]] | pd.DataFrame


@dataclass(frozen=True)
class About:
    """What the model needs to know of the task.

    ``task``: its type. ``columns``: what the models see of a record; empty where a row is a text and nothing else.
    """

    labels: Sequence[str]
    task: str = "topic"
    columns: Sequence[str] = ()


@dataclass(frozen=True)
class Predicted:
    """``label (N,)``: numbers of labels; ``names``: the labels' names, by row. ``probs (N, K)``; ``confidence (N,)`` is the
    highest of them. ``risk (N,)``: the probability that the label is wrong."""

    label: IntArray
    names: list[str]
    probs: FloatArray
    confidence: FloatArray
    risk: FloatArray


@dataclass(frozen=True)
class Classifier:
    """A trained small model. Made by :func:`mlcore.classifier.fit.fit_classifier`, or read by :meth:`load`.

    ``network``: ``head``, ``finetune`` or ``table``, with its ``weights``. ``ngrams``: further views of texts.
    ``data_sha256``: of the rows that it was trained on. ``read_encoder``: loads the encoder of texts.
    """

    about: About
    network: str
    weights: dict[str, FloatArray]
    calibration: Calibration
    ngrams: tuple[NgramModel, ...] = ()
    columns: tuple[ColumnEncoder, ...] = ()
    encoder_name: str = ""
    fingerprint: str = ""
    data_sha256: str = ""
    rows: int = 0
    encoder_folder: Path | None = None
    cache_dir: Path = DEFAULT_CACHE
    weights_dir: Path | None = None
    hub_token: str = field(default="", repr=False)
    keep_features: bool = False

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        cache_dir: Path = DEFAULT_CACHE,
        weights_dir: Path | None = None,
        hub_token: str = "",
        keep_features: bool = False,
    ) -> Classifier:
        """Read a model from its folder.

        Args:
            folder: as a download or :meth:`save` made it.
            cache_dir: where converted or downloaded weights of the encoder are kept.
            weights_dir: the operator's model folder.
            hub_token: for an encoder that is not public.
            keep_features: whether features of texts are kept in ``cache_dir``, for a later training on them.

        Raises:
            EngineError: the folder holds no such model.
        """
        folder = Path(folder)
        try:
            spec = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            if spec["format"] != FORMAT:
                raise EngineError("newer_model", folder=folder.name, format=str(spec["format"]), known=FORMAT)
            tensors = load_file(folder / TENSORS)
            terms = json.loads((folder / VOCABULARY).read_text(encoding="utf-8"))
            ngrams = tuple(
                NgramModel(
                    name,
                    terms[name],
                    *(tensors.pop(f"{name}.{part}") for part in ("idf", "weights", "biases")),
                )
                for name in terms
            )
            return cls(
                about=About(**spec["about"]),
                network=spec["network"],
                weights=tensors,
                calibration=Calibration(**spec["calibration"]),
                ngrams=ngrams,
                columns=tuple(ColumnEncoder(**column) for column in spec["columns"]),
                **{name: spec[name] for name in ("encoder_name", "fingerprint", "data_sha256", "rows")},
                encoder_folder=folder / ENCODER if (folder / ENCODER).is_dir() else None,
                cache_dir=cache_dir,
                weights_dir=weights_dir,
                hub_token=hub_token,
                keep_features=keep_features,
            )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise EngineError("no_kept_model", folder=str(folder), problem=str(error)) from error

    def save(self, folder: Path) -> None:
        """Write the folder, whole or not at all; one that is there already is replaced."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        tensors = {name: np.ascontiguousarray(values) for name, values in self.weights.items()}
        for model in self.ngrams:
            parts = {"idf": model.idf, "weights": model.weights, "biases": model.biases}
            tensors |= {
                f"{model.analyzer}.{name}": np.ascontiguousarray(values) for name, values in parts.items()
            }
        try:
            if self.network == "finetune":
                own = {name: tensors.pop(name) for name in list(tensors) if name.startswith("encoder.")}
                self._save_encoder(temporary / ENCODER, own)
            save_file(tensors, temporary / TENSORS)
            _write_json(temporary / VOCABULARY, {model.analyzer: model.terms for model in self.ngrams})
            _write_json(temporary / CONFIG, self.spec)
            temporary.chmod(0o755)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @property
    def spec(self) -> dict[str, Any]:
        """What ``config.json`` holds."""
        return {
            "format": FORMAT,
            "about": asdict(self.about)
            | {"labels": list(self.about.labels), "columns": list(self.about.columns)},
            "network": self.network,
            "encoder_name": self.encoder_name,
            "fingerprint": self.fingerprint,
            "calibration": asdict(self.calibration),
            "columns": [asdict(column) for column in self.columns],
            "data_sha256": self.data_sha256,
            "rows": self.rows,
        }

    def _save_encoder(self, folder: Path, weights: Mapping[str, FloatArray]) -> None:
        """The encoder's folder with other weights: settings and tokenizer as they came, nothing else."""
        source = self.encoder.folder
        folder.mkdir()
        for path in source.iterdir():
            if path.suffix in (".json", ".txt", ".model", ".jinja") and "index" not in path.name:
                shutil.copy(path, folder / path.name)
        prefix = len("encoder.")
        values = {name[prefix:]: np.ascontiguousarray(value) for name, value in weights.items()}
        save_file(values, folder / TENSORS, metadata={"format": "pt"})

    @cached_property
    def encoder(self) -> TextEncoder:
        """The encoder of texts: packed with the model, or the one of its name.

        Raises:
            EngineError: it can't be had, or is another one than in training.
        """
        if self.encoder_folder is not None:
            return load_encoder(check_folder(self.encoder_folder))
        folder = resolve_weights(
            self.encoder_name,
            weights_dir=self.weights_dir,
            cache_dir=self.cache_dir.expanduser(),
            token=self.hub_token,
        )
        encoder = load_encoder(folder)
        if encoder.fingerprint != self.fingerprint:
            raise EngineError("other_encoder", name=self.encoder_name)
        return encoder

    def predict(self, rows: Rows) -> Predicted:
        """Label rows.

        Args:
            rows: N texts, or records (mappings, or a DataFrame) with the columns that the model was trained on.

        Raises:
            InvalidInputError: a column is missing.
        """
        texts, table = self._prepare(rows)
        if not texts:
            empty = np.zeros(0)
            return Predicted(empty.astype(np.int64), [], np.zeros((0, len(self.about.labels))), empty, empty)
        views = {model.analyzer: model.predict(texts) for model in self.ngrams}
        views[NETWORK] = self._network_probs(texts, table)
        probs = self.calibration.pool(views)
        label = probs.argmax(axis=1)
        names = [self.about.labels[number] for number in label]
        return Predicted(label, names, probs, probs.max(axis=1), self.calibration.risk(probs))

    def _prepare(self, rows: Rows) -> tuple[list[str], pd.DataFrame | None]:
        """Texts as the models see them, and the columns of a table."""
        task, columns = task_named(self.about.task), list(self.about.columns)
        if not isinstance(rows, pd.DataFrame) and all(isinstance(row, str) for row in rows):
            if task.student == "table":
                raise InvalidInputError("records_needed", columns=", ".join(columns))
            records = [Row(key=0, text=str(row), fields={}) for row in rows]
            return [_whole(task.show(row)) for row in records], None
        table = pd.DataFrame(rows)
        if missing := [name for name in columns if name not in table.columns]:
            raise InvalidInputError("columns_missing", missing=", ".join(missing), columns=", ".join(columns))
        table = table[columns].astype(object).where(table[columns].notna(), "").astype(str)
        texts = [
            _whole(
                task.show(
                    Row(
                        key=0,
                        text="\n".join(filter(str.strip, cells)),
                        fields=dict(zip(columns, cells, strict=True)),
                    )
                )
            )
            for cells in table.itertuples(index=False, name=None)
        ]
        return texts, table if task.student == "table" else None

    def _network_probs(self, texts: list[str], table: pd.DataFrame | None) -> FloatArray:
        network = self._build(texts, table)
        weights = {
            name: torch.from_numpy(values)
            for name, values in self.weights.items()
            if not name.startswith("features.")
        }
        if self.network == "finetune" and self.encoder_folder is not None:
            weights |= {f"encoder.{name}": value for name, value in self.encoder.model.state_dict().items()}
        return predict_rows(network, weights, np.arange(len(texts)), torch.Generator())

    def _build(self, texts: list[str], table: pd.DataFrame | None) -> Network:
        """The network on these rows."""
        count = len(self.about.labels)
        if table is not None:
            values, columns = encode_columns(table, self.columns)
            return TableMlp(torch.from_numpy(values), column_tensor(columns), count, TABLE_HIDDEN)
        if self.network == "finetune":
            return FineTunedEncoder(self.encoder, texts, count)
        with tempfile.TemporaryDirectory() as passing:
            cache_dir = self.cache_dir.expanduser() if self.keep_features else Path(passing)
            features = finite(encode_texts(texts, self.encoder, cache_dir=cache_dir))
        scale = (torch.from_numpy(self.weights[f"features.{part}"]) for part in ("mean", "deviation"))
        return FeatureHead(Standardised(torch.from_numpy(features), *scale), count)


def _whole(text: str) -> str:
    """A lone surrogate can be neither encoded nor tokenised."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
