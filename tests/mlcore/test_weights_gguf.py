"""A GGUF file is converted once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlcore import weights_gguf
from mlcore.errors import ModelUnavailableError


def test_a_file_that_is_none_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    file, into = tmp_path / "model.gguf", tmp_path / "weights"
    file.write_bytes(b"GGUF, but no further")
    with pytest.raises(ModelUnavailableError, match=r"model\.gguf can't be converted"):
        weights_gguf.convert_gguf(file, into)
    assert list(into.iterdir()) == []


def test_a_file_is_converted_once_and_again_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, into = tmp_path / "model.gguf", tmp_path / "weights"
    file.write_bytes(b"first")
    converted: list[bytes] = []

    def convert(path: Path, folder: Path) -> None:
        converted.append(path.read_bytes())
        (folder / "model.safetensors").write_bytes(path.read_bytes())

    monkeypatch.setattr(weights_gguf, "_convert", convert)
    folder = weights_gguf.convert_gguf(file, into)
    assert weights_gguf.convert_gguf(file, into) == folder
    assert converted == [b"first"]

    file.write_bytes(b"again")
    os.utime(file, (1, 1))
    other = weights_gguf.convert_gguf(file, into)
    assert other != folder
    assert (other / "model.safetensors").read_bytes() == b"again"
    assert sorted(into.iterdir()) == sorted([folder, other]), "nothing unfinished is left"


def test_an_interrupted_conversion_is_no_folder_to_find_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, into = tmp_path / "model.gguf", tmp_path / "weights"
    file.write_bytes(b"first")

    def interrupted(_path: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(weights_gguf, "_convert", interrupted)
        with pytest.raises(KeyboardInterrupt):
            weights_gguf.convert_gguf(file, into)
    assert list(into.iterdir()) == []
