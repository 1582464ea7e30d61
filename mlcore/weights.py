"""From a model's name to a folder with weights that is safe to load.

A name is one of the embedded models, a folder (or GGUF file) under the operator's model folder, or ``owner/name`` on
the hub. Only safetensors are loaded, and never code: a folder's JSON files are searched for settings that make a
library run or read something outside the folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlcore.errors import ModelUnavailableError
from mlcore.weights_embedded import EMBEDDED, embedded_folder

HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
DOWNLOADED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "*.jinja"]
MODEL_TYPES = frozenset(
    [
        "albert",
        "bert",
        "bloom",
        "camembert",
        "deberta",
        "deberta-v2",
        "distilbert",
        "electra",
        "ernie",
        "falcon",
        "gemma",
        "gemma2",
        "gemma3_text",
        "gpt2",
        "gpt_neox",
        "granite",
        "llama",
        "ministral",
        "mistral",
        "modernbert",
        "mpnet",
        "olmo",
        "olmo2",
        "phi",
        "phi3",
        "qwen2",
        "qwen3",
        "roberta",
        "smollm3",
        "stablelm",
        "starcoder2",
        "xlm-roberta",
    ]
)
_FORBIDDEN_KEYS = frozenset({"auto_map", "trust_remote_code", "custom_pipelines", "custom_pipeline"})


def resolve_weights(name: str, *, weights_dir: Path | None, cache_dir: Path, token: str = "") -> Path:
    """The folder of a model's weights, checked and ready for ``from_pretrained``.

    Args:
        name: an embedded model's name, a folder or ``.gguf`` file under ``weights_dir``, or ``owner/name`` on the hub.
        weights_dir: the operator's model folder; None if there is none.
        cache_dir: where converted and downloaded weights are kept.
        token: the user's hub token; empty for none. The machine's own token is never used.

    Raises:
        ModelUnavailableError: no such model, or one that isn't safe to load.
    """
    if name in EMBEDDED:
        return check_folder(embedded_folder(name, cache_dir))
    local = _under(weights_dir, name)
    if local is not None and local.suffix == ".gguf":
        return _converted(local, cache_dir)
    if local is not None:
        return check_folder(local)
    if HUB_NAME.fullmatch(name) and ".." not in name:
        return check_folder(_download(name, cache_dir, token))
    raise ModelUnavailableError("no_such_model", name=name[:100], built_in=", ".join(EMBEDDED))


def check_folder(folder: Path) -> Path:
    """Return the folder if it holds safetensors of a known architecture and nothing that runs code.

    Raises:
        ModelUnavailableError: says what is missing or forbidden.
    """
    if not (folder / "config.json").is_file():
        raise ModelUnavailableError("no_config", name=folder.name)
    if not list(folder.glob("*.safetensors")):
        raise ModelUnavailableError("no_safetensors", name=folder.name)
    for path in sorted(folder.glob("*.json")):
        for code, setting in _problems(_read_json(path)):
            raise ModelUnavailableError(code, file=f"{folder.name}/{path.name}", setting=setting)
    model_type = _read_json(folder / "config.json").get("model_type")
    if model_type not in MODEL_TYPES:
        raise ModelUnavailableError(
            "unknown_architecture",
            name=folder.name,
            type=str(model_type),
            types=", ".join(sorted(MODEL_TYPES)),
        )
    return folder


def fingerprint(folder: Path) -> str:
    """Sixteen hexadecimal digits that change with the weights: sizes, and both ends of every file."""
    import hashlib

    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.json"), *folder.glob("*.jinja")]):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode())
        with path.open("rb") as file:
            digest.update(file.read(1 << 20))
            file.seek(max(0, size - (1 << 20)))
            digest.update(file.read(1 << 20))
    return digest.hexdigest()[:16]


def _problems(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """What in a settings file would make a library run code or leave the folder: the message's code, and the setting."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in _FORBIDDEN_KEYS:
                yield "runs_code", name
            if key == "chat_template" and ("/" in name or "\\" in name or ".." in name):
                yield "template_path", name
            yield from _problems(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _problems(inner, key)
    elif isinstance(value, str):
        if key.strip("_").removesuffix("_internal").endswith("implementation") and "/" in value:
            yield "names_code", key
        if key.endswith("_file") and (value.startswith(("/", "~")) or ".." in value or "\\" in value):
            yield "points_outside", key


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ModelUnavailableError("not_json", name=f"{path.parent.name}/{path.name}") from error
    return value if isinstance(value, dict) else {"items": value}


def _under(weights_dir: Path | None, name: str) -> Path | None:
    """The folder or file of this name inside the operator's model folder; None if it isn't there."""
    if weights_dir is None or not name or "\0" in name or len(name) > 500:
        return None
    root = weights_dir.resolve()
    try:
        path = (root / name).resolve()
        found = path.exists()
    except OSError:  # such as a name that is too long for a file
        return None
    if not found or path == root or not path.is_relative_to(root):
        return None
    if path.is_dir():
        outside = [each.name for each in path.iterdir() if not each.resolve().is_relative_to(root)]
        if outside:
            raise ModelUnavailableError("link_outside", name=name, link=outside[0])
    return path


def _converted(path: Path, cache_dir: Path) -> Path:
    from mlcore.weights_gguf import convert_gguf

    return check_folder(convert_gguf(path, cache_dir / "weights"))


def _download(name: str, cache_dir: Path, token: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(
            snapshot_download(
                name,
                cache_dir=cache_dir / "hub",
                token=token or False,
                allow_patterns=DOWNLOADED,
                etag_timeout=10,
            )
        )
    except GatedRepoError as error:
        raise ModelUnavailableError("gated_model", name=name) from error
    except RepositoryNotFoundError as error:
        raise ModelUnavailableError("not_on_hub", name=name) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelUnavailableError("hub_unreachable", name=name) from error
