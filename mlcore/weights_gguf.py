"""Turn a GGUF file into a safetensors folder, once."""

from __future__ import annotations

import hashlib
import struct
from functools import partial
from pathlib import Path
from typing import Any

from mlcore.atomic_write import write_folder
from mlcore.errors import ModelUnavailableError


def convert_gguf(path: Path, into: Path) -> Path:
    """Convert a GGUF file's weights and tokenizer, or return the folder of an earlier conversion.

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
    return write_folder(folder, partial(_convert, path))


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
