"""Features of texts on disk, found by the hash of the text: what any run encoded, every later run reads."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlcore.atomic_write import write_whole
from mlcore.records import BoolArray, FloatArray

Keys = np.ndarray[Any, np.dtype[np.bytes_]]


def text_keys(texts: Sequence[str]) -> Keys:
    """A hash of each text, ``(N,)`` of 16 bytes."""
    digests = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16] for text in texts]
    return np.array(digests, dtype="S16")


class FeatureCache:
    """Pairs of files in one folder: the keys of some texts, and their features, float16, in the same order.

    A file is written whole or not at all, the keys last, so that an interrupted run goes on where it stopped.

    Args:
        folder: of one encoder; made if it is not there.
        width: features of a text.
    """

    def __init__(self, folder: Path, width: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.width = folder, width
        self._load()

    def _load(self) -> None:
        self._files = sorted(self.folder.glob("*.keys.npy"))
        parts: list[Keys] = [np.load(path, allow_pickle=False) for path in self._files]
        keys = np.concatenate([np.empty(0, dtype="S16"), *parts])
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._file = np.repeat(np.arange(len(parts)), [len(part) for part in parts])[order]
        self._row = np.concatenate([np.empty(0, dtype=np.int64), *(np.arange(len(part)) for part in parts)])[
            order
        ]

    def holds(self, keys: Keys) -> BoolArray:
        """Whether the features of each text are there, ``(N,)``."""
        if len(self._keys) == 0:
            return np.zeros(len(keys), dtype=bool)
        return np.asarray(self._keys[self._places(keys)] == keys)

    def add(self, keys: Keys, features: FloatArray) -> None:
        """Keep the features ``(N, width)`` of texts."""
        name = hashlib.sha256(keys.tobytes()).hexdigest()[:32]
        for suffix, values in (("features", features.astype(np.float16)), ("keys", keys)):
            with write_whole(self.folder / f"{name}.{suffix}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, values, allow_pickle=False)

    def read(self, keys: Keys) -> FloatArray:
        """The features ``(N, width)`` of texts that were added, float16, mapped to a file that ends with the process."""
        if len(keys) == 0:
            return np.zeros((0, self.width), dtype=np.float16)
        self._load()
        places = self._places(keys)
        with tempfile.TemporaryFile(dir=self.folder) as file:
            features: FloatArray = np.memmap(file, np.float16, "w+", shape=(len(keys), self.width))
        for number, path in enumerate(self._files):
            rows = np.flatnonzero(self._file[places] == number)
            if len(rows):
                stored = np.load(path.with_name(path.name.replace(".keys.", ".features.")), mmap_mode="r")
                features[rows] = stored[self._row[places[rows]]]
        return features

    def _places(self, keys: Keys) -> Any:
        return np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
