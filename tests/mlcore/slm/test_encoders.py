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
        self.dtype, self.device = torch.float32, torch.device("cpu")

    def __call__(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, output_hidden_states: bool
    ) -> Any:
        self.texts += len(input_ids)
        states = input_ids.float().unsqueeze(-1).repeat(1, 1, 2)
        return SimpleNamespace(hidden_states=tuple(states * (layer + 1) for layer in range(4)))


def tokenize(texts: list[str], *, max_length: int, **_: object) -> dict[str, torch.Tensor]:
    """A token for each character; what is longer than ``max_length`` goes on in the next row, as transformers does it."""
    windows = [
        (owner, text[start : start + max_length])
        for owner, text in enumerate(texts)
        for start in range(0, max(1, len(text)), max_length)
    ]
    longest = max(1, *(len(text) for _owner, text in windows))
    ids = torch.zeros(len(windows), longest, dtype=torch.long)
    mask = torch.zeros(len(windows), longest, dtype=torch.long)
    for row, (_owner, text) in enumerate(windows):
        ids[row, : len(text)] = torch.tensor([ord(char) % 50 for char in text], dtype=torch.long)
        mask[row, : len(text)] = 1
    owners = torch.tensor([owner for owner, _text in windows])
    return {"input_ids": ids, "attention_mask": mask, "overflow_to_sample_mapping": owners}


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


def test_a_text_that_any_run_encoded_is_not_encoded_again(encoder: TextEncoder, tmp_path: Path) -> None:
    first = encode_texts(["a", "b", "c"], encoder, cache_dir=tmp_path)
    encode_texts(["d", "e"], encoder, cache_dir=tmp_path)
    encoder.model.texts = 0
    mixed = encode_texts(["e", "c", "f", "a"], encoder, cache_dir=tmp_path)
    assert encoder.model.texts == 1
    np.testing.assert_array_equal(mixed[[3, 1]], first[[0, 2]])
    np.testing.assert_array_equal(mixed[:1], encode_texts(["e"], encoder, cache_dir=tmp_path / "other"))


def test_features_lie_on_disk_and_leave_no_file_behind(encoder: TextEncoder, tmp_path: Path) -> None:
    features = encode_texts(["a", "b"], encoder, cache_dir=tmp_path)
    assert isinstance(features, np.memmap)
    names = sorted(path.name.partition(".")[2] for path in tmp_path.rglob("*") if path.is_file())
    assert names == ["features.npy", "keys.npy"]


def test_no_texts_have_no_features(encoder: TextEncoder, tmp_path: Path) -> None:
    assert encode_texts([], encoder, cache_dir=tmp_path).shape == (0, 8)


def test_a_long_text_is_the_mean_of_its_windows(
    encoder: TextEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "MAX_TOKENS", 3)
    monkeypatch.setattr(encoders, "MOST_WINDOWS", 2)
    short, long, first, second = encode_texts(["ab", "aaabbbccc", "aaa", "bbb"], encoder, cache_dir=tmp_path)
    np.testing.assert_allclose(long, (first + second) / 2, rtol=1e-3)
    np.testing.assert_array_equal(short, encode_texts(["ab"], encoder, cache_dir=tmp_path / "alone")[0])


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
    assert encoder.model.texts == 2
    assert seen[-1] == 6
    assert seen == sorted(seen)
