from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from mlcore.config import EMBEDDED_ENCODER, EMBEDDED_LLM, SECOND_ENCODER
from mlcore.errors import ModelUnavailableError
from mlcore.weights_embedded import (
    EMBEDDED,
    Embedded,
    checked_file,
    embedded_folder,
    installed_encoder,
    is_installed,
)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of weights that must not be imported, in place of the second encoder's; returns the weights' path."""
    path = tmp_path / "some_weights" / "model" / "model.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    (tmp_path / "some_weights" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    sha256 = hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setitem(EMBEDDED, SECOND_ENCODER, Embedded("some_weights", "model/model.safetensors", sha256))
    return path


def test_weights_are_found_without_importing_their_package(package: Path, tmp_path: Path) -> None:
    assert embedded_folder(SECOND_ENCODER, tmp_path) == package.parent
    assert "some_weights" not in sys.modules


def test_weights_that_were_altered_are_refused(package: Path, tmp_path: Path) -> None:
    package.write_bytes(b"weighty")
    with pytest.raises(ModelUnavailableError) as caught:
        embedded_folder(SECOND_ENCODER, tmp_path)
    assert caught.value.message.code == "package_altered"


@pytest.mark.parametrize("name", [EMBEDDED_LLM, EMBEDDED_ENCODER, SECOND_ENCODER])
def test_a_missing_package_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EMBEDDED, name, Embedded("no_such_weights", "model", ""))
    with pytest.raises(ModelUnavailableError, match="no_such_weights"):
        embedded_folder(name, tmp_path)


def test_the_second_encoder_takes_the_place_of_the_first_where_that_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(EMBEDDED, EMBEDDED_ENCODER, Embedded("no_such_weights", "model", ""))
    assert installed_encoder(EMBEDDED_ENCODER) == SECOND_ENCODER
    assert installed_encoder("owner/name") == "owner/name"


@pytest.mark.parametrize("name", list(EMBEDDED))
def test_the_installed_package_holds_what_was_tested(name: str) -> None:
    if not is_installed(name):
        pytest.skip("the model's package is not installed")
    assert checked_file(EMBEDDED[name]).is_file()
