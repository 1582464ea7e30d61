"""Features of texts from a frozen encoder, computed once and cached on disk by content.

A sentence encoder's last layer is trained for topics; its lower layers keep what it drops, such as sentiment. A logistic
head on MR goes from 75.4 to 77.8 % out of fold with them, for the same forward pass.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlcore.atomic_write import write_whole
from mlcore.records import FloatArray
from mlcore.weights import fingerprint

CHUNK = 2048
MAX_TOKENS = 256
POOLED = 4  # feature vectors per text


@dataclass(frozen=True)
class TextEncoder:
    """A loaded encoder and its tokenizer. ``fingerprint`` changes when the weights do; ``prompt`` stands before every text."""

    model: Any
    tokenizer: Any
    fingerprint: str
    dimensions: int
    prompt: str = ""

    def tokenize(self, texts: Sequence[str], **settings: Any) -> Any:
        """The tokens of texts behind the prompt, cut to what the encoder reads."""
        prompted = [self.prompt + text for text in texts]
        return self.tokenizer(prompted, truncation=True, max_length=MAX_TOKENS, **settings)


def load_encoder(folder: Path) -> TextEncoder:
    """Load an encoder from a folder with ``config.json``, tokenizer and safetensors; no code of the folder is run.

    The folder's default prompt is taken from ``config_sentence_transformers.json``, if there is one.
    """
    from transformers import MODEL_MAPPING, AutoConfig, AutoModel, AutoTokenizer

    source: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(folder, **source)
    config = AutoConfig.from_pretrained(folder, **source)
    # The layer on the first token is not used, and some folders have no weights for it.
    architecture: Any = MODEL_MAPPING[type(config)]
    if "add_pooling_layer" in inspect.signature(architecture).parameters:
        source["add_pooling_layer"] = False
    model = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **source).eval()
    return TextEncoder(
        model, tokenizer, fingerprint(folder), int(model.config.hidden_size), default_prompt(folder)
    )


def default_prompt(folder: Path) -> str:
    """What the folder's sentence-transformers settings put before every text; empty where they name nothing."""
    path = folder / "config_sentence_transformers.json"
    settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return str((settings.get("prompts") or {}).get(settings.get("default_prompt_name")) or "")


def encode_texts(
    texts: Sequence[str],
    encoder: TextEncoder,
    *,
    cache_dir: Path,
    batch_size: int = 64,
    on_batch: Callable[[int], None] = lambda done: None,
) -> FloatArray:
    """Pooled hidden states of texts, see :func:`pool_texts`.

    Texts are encoded in chunks of 2,048; each chunk's features lie in a file named by the hash of its texts, written
    whole or not at all, so that an interrupted run goes on where it stopped and a longer corpus reuses its beginning.

    Args:
        texts: N texts.
        encoder: from :func:`load_encoder`.
        cache_dir: where the files lie; made if it is not there.
        batch_size: texts per forward pass.
        on_batch: called with the number of texts done; may raise to stop.

    Returns:
        Features ``(N, 4 D)``, float16; the first D are the sentence embedding.
    """
    folder = cache_dir / "features" / f"{encoder.fingerprint}-{POOLED}"
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for start in range(0, len(texts), CHUNK):
        chunk = list(texts[start : start + CHUNK])
        parts.append(_encode_chunk(chunk, encoder, folder, batch_size, partial(_report, on_batch, start)))
    return np.concatenate(parts) if parts else np.zeros((0, POOLED * encoder.dimensions), dtype=np.float16)


def _report(on_batch: Callable[[int], None], before: int, done: int) -> None:
    on_batch(before + done)


def _encode_chunk(
    chunk: list[str], encoder: TextEncoder, folder: Path, batch_size: int, on_batch: Callable[[int], None]
) -> FloatArray:
    name = hashlib.sha256("\x00".join([str(len(t)) + ":" + t for t in chunk]).encode()).hexdigest()
    path = folder / f"{name}.npy"
    if path.exists():
        cached = np.load(path, allow_pickle=False)
        if cached.shape == (len(chunk), POOLED * encoder.dimensions):
            on_batch(len(chunk))
            return np.asarray(cached)
    unique, inverse = np.unique(np.array(chunk, dtype=object), return_inverse=True)
    # Batches of similar length waste little on padding.
    by_length = sorted(range(len(unique)), key=lambda i: len(unique[i]))
    features = np.zeros((len(unique), POOLED * encoder.dimensions), dtype=np.float16)
    for start in range(0, len(by_length), batch_size):
        rows = by_length[start : start + batch_size]
        features[rows] = pool_texts([str(unique[i]) for i in rows], encoder)
        on_batch(min(len(chunk), int(len(chunk) * (start + len(rows)) / len(unique))))
    result = features[inverse]
    with write_whole(path) as temporary, temporary.open("wb") as file:
        np.save(file, result, allow_pickle=False)
    return result


def pool_texts(texts: Sequence[str], encoder: TextEncoder) -> FloatArray:
    """Features ``(B, 4 D)`` of a few texts, over their real tokens.

    The mean of the last layer (the sentence embedding), its maximum, and the means at two thirds and one third of the
    depth.
    """
    batch = encoder.tokenize(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        layers = encoder.model(**batch, output_hidden_states=True).hidden_states  # 1 + L times (B, T, D)
    mask = batch["attention_mask"].unsqueeze(-1)  # (B, T, 1)
    depth = len(layers) - 1
    chosen = [layers[depth], layers[round(depth * 2 / 3)], layers[round(depth / 3)]]
    means = [(layer * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1) for layer in chosen]
    highest = layers[depth].masked_fill(mask == 0, -1e4).amax(dim=1)
    return np.asarray(torch.cat([means[0], highest, *means[1:]], dim=1).numpy(), dtype=np.float16)
