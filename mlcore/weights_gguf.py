"""Turn a GGUF file into a safetensors folder, once."""

from __future__ import annotations

import hashlib
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any

from mlcore.errors import ModelUnavailableError


def convert_gguf(path: Path, into: Path) -> Path:
    """Convert a GGUF file's weights and tokenizer, or return the folder of an earlier conversion.

    The folder appears under its name only when it is whole, so an interrupted conversion leaves nothing to trip over
    and two processes that convert at once don't disturb each other.

    Args:
        path: the ``.gguf`` file.
        into: where converted folders are kept; made if it isn't there.

    Returns:
        A folder with ``config.json``, tokenizer and 16-bit safetensors.

    Raises:
        ModelUnavailableError: the file is no GGUF file of an architecture that can be converted.
    """
    stat = path.stat()
    key = hashlib.sha256(f"{path.name}:{stat.st_size}:{stat.st_mtime_ns}".encode()).hexdigest()[:12]
    folder = into / f"{path.stem}-{key}"
    if folder.exists():
        return folder
    into.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".converting-", dir=into))
    try:
        _convert(path, unfinished)
        try:
            unfinished.replace(folder)
        except OSError:
            if not folder.exists():  # else another process was first, and its result is the same
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _convert(path: Path, folder: Path) -> None:
    import torch
    import transformers
    from transformers import AutoConfig, AutoTokenizer
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    make_model: Any = transformers.AutoModelForCausalLM.from_config
    read_tensors: Any = load_gguf_checkpoint

    try:
        config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        with torch.device("meta"):
            model = make_model(config, dtype=torch.float32)
        # from_pretrained(gguf_file=...) would do the same, but asks for the accelerate package.
        tensors = read_tensors(str(path), return_tensors=True, model_to_load=model)["tensors"]
    except (ValueError, KeyError, OSError, NotImplementedError, struct.error) as error:
        raise ModelUnavailableError("gguf_unreadable", name=path.name, reason=str(error)) from error
    missing = model.load_state_dict(tensors, strict=False, assign=True).missing_keys
    model.tie_weights()
    if set(missing) - {"lm_head.weight"}:
        raise ModelUnavailableError("weights_lacking", name=path.name, names=", ".join(sorted(missing)[:3]))
    model.to(torch.float16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
