from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mlcore.slm import encoders
from mlcore.slm.encoders import TextEncoder, encode_texts


class CountingModel:
    """A stand-in for the weights: hidden states are the token number, and calls are counted."""

    def __init__(self) -> None:
        self.texts = 0

    def __call__(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, output_hidden_states: bool
    ) -> Any:
        self.texts += len(input_ids)
        states = input_ids.float().unsqueeze(-1).repeat(1, 1, 2)
        return SimpleNamespace(hidden_states=tuple(states * (layer + 1) for layer in range(4)))


def tokenize(texts: list[str], **_: object) -> dict[str, torch.Tensor]:
    longest = max(1, *(len(text) for text in texts))
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    mask = torch.zeros(len(texts), longest, dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor([ord(char) % 50 for char in text], dtype=torch.long)
        mask[row, : len(text)] = 1
    return {"input_ids": ids, "attention_mask": mask}


@pytest.fixture
def encoder() -> TextEncoder:
    return TextEncoder(CountingModel(), tokenize, "fingerprint", 2)


def test_features_are_computed_once_and_read_from_the_cache_after(
    encoder: TextEncoder, tmp_path: Path
) -> None:
    texts = ["abc", "de", "abc", ""]
    first = encode_texts(texts, encoder, cache_dir=tmp_path)
    assert encoder.model.texts == 3, "a copy is encoded once"
    np.testing.assert_array_equal(first, encode_texts(texts, encoder, cache_dir=tmp_path))
    assert encoder.model.texts == 3
    assert first.dtype == np.float16
    assert first.shape == (4, 8)
    np.testing.assert_array_equal(first[0], first[2])


def test_a_longer_corpus_reuses_its_beginning(
    encoder: TextEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "CHUNK", 4)
    encode_texts(["a", "b", "c", "d", "e"], encoder, cache_dir=tmp_path)
    encoder.model.texts = 0
    encode_texts(["a", "b", "c", "d", "e", "f"], encoder, cache_dir=tmp_path)
    assert encoder.model.texts == 2


def test_padding_does_not_reach_the_features(encoder: TextEncoder, tmp_path: Path) -> None:
    alone = encode_texts(["ab"], encoder, cache_dir=tmp_path / "1")
    beside = encode_texts(["ab", "abcdefgh"], encoder, cache_dir=tmp_path / "2")
    assert alone[0] == pytest.approx(beside[0], rel=1e-7, abs=0)


def test_progress_counts_texts_and_an_interruption_keeps_finished_chunks(
    encoder: TextEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "CHUNK", 2)

    def stop(done: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_texts(["a", "b", "c", "d", "e", "f"], encoder, cache_dir=tmp_path, on_batch=stop)
    encoder.model.texts = 0
    seen: list[int] = []
    encode_texts(["a", "b", "c", "d", "e", "f"], encoder, cache_dir=tmp_path, on_batch=seen.append)
    assert encoder.model.texts == 4
    assert seen[-1] == 6
    assert seen == sorted(seen)
