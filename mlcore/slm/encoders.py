"""Features of texts from a frozen encoder, computed once for each text and kept on disk.

A sentence encoder's last layer is trained for topics; its lower layers keep what it drops, such as sentiment. A logistic
head on MR goes from 75.4 to 77.8 % out of fold with them, for the same forward pass.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlcore.records import FloatArray, IntArray
from mlcore.slm.feature_cache import FeatureCache, Keys, text_keys
from mlcore.weights import fingerprint

CHUNK = 2048  # texts in a file of the cache
MAX_TOKENS = 256  # of a window
MOST_WINDOWS = 8  # of a text, so that one book among the rows doesn't take hours
POOLED = 4  # feature vectors per text


@dataclass(frozen=True)
class TextEncoder:
    """A loaded encoder and its tokenizer. ``fingerprint`` changes when the weights do; ``prompt`` stands before every text.

    ``folder``: where it was loaded from.
    """

    model: Any
    tokenizer: Any
    fingerprint: str
    dimensions: int
    prompt: str = ""
    folder: Path = Path()

    def tokenize(self, texts: Sequence[str], **settings: Any) -> Any:
        """The tokens of texts behind the prompt, cut to what the encoder reads at once."""
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
        model, tokenizer, fingerprint(folder), int(model.config.hidden_size), default_prompt(folder), folder
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
    """Pooled hidden states of texts, see :func:`pool_texts`; a text that any run has encoded is read from disk.

    Args:
        texts: N texts.
        encoder: from :func:`load_encoder`.
        cache_dir: where the features are kept; made if it is not there.
        batch_size: texts per forward pass.
        on_batch: called with the number of texts done; may raise to stop.

    Returns:
        Features ``(N, 4 D)``, float16, mapped to a file; the first D are the sentence embedding.
    """
    cache, keys = open_cache(encoder, cache_dir), text_keys(texts)
    missing = missing_rows(keys, cache)
    done = len(texts) - len(missing)
    for start in range(0, len(missing), CHUNK):
        # Batches of similar length waste little on padding.
        rows = np.array(sorted(missing[start : start + CHUNK], key=lambda row: len(texts[row])))
        features = np.empty((len(rows), cache.width), dtype=np.float16)
        for begin in range(0, len(rows), batch_size):
            batch = slice(begin, begin + batch_size)
            features[batch] = pool_texts([texts[row] for row in rows[batch]], encoder)
            done += len(rows[batch])
            if begin + batch_size < len(rows):
                on_batch(done)
        cache.add(keys[rows], features)
        on_batch(done)
    if len(missing) == 0:
        on_batch(done)
    return cache.read(keys)


def open_cache(encoder: TextEncoder, cache_dir: Path) -> FeatureCache:
    """Where the encoder's features are kept."""
    precision = str(encoder.model.dtype).removeprefix("torch.")
    folder = cache_dir / "features" / f"{encoder.fingerprint}-{POOLED}x{MOST_WINDOWS}-{precision}"
    return FeatureCache(folder, POOLED * encoder.dimensions)


def missing_rows(keys: Keys, cache: FeatureCache) -> IntArray:
    """The first row of each text, by its key ``(N,)``, whose features are not kept yet; in order."""
    unique, first = np.unique(keys, return_index=True)
    return np.sort(first[~cache.holds(unique)])


def pool_texts(texts: Sequence[str], encoder: TextEncoder) -> FloatArray:
    """Features ``(B, 4 D)`` of a few texts, over their real tokens.

    The mean of the last layer (the sentence embedding), its maximum, and the means at two thirds and one third of the
    depth. A text that is longer than the encoder reads at once is read in windows, and theirs are averaged.
    """
    tokens = encoder.tokenize(texts, padding=True, return_tensors="pt", return_overflowing_tokens=True)
    owners = tokens.pop("overflow_to_sample_mapping")  # (W,), in the order of the texts
    begins = torch.searchsorted(owners, owners)  # (W,), the first window of each one's text
    kept = torch.arange(len(owners))
    kept = kept[kept - begins < MOST_WINDOWS]
    sums = torch.zeros(len(texts), POOLED * encoder.dimensions)
    for rows in torch.split(kept, len(texts)):  # no more windows at once than there are texts
        windows = {name: values[rows] for name, values in tokens.items()}
        sums.index_add_(0, owners[rows], _pool_windows(windows, encoder))
    counts = torch.bincount(owners[kept], minlength=len(texts))
    return np.asarray((sums / counts[:, None]).numpy(), dtype=np.float16)


def _pool_windows(tokens: dict[str, torch.Tensor], encoder: TextEncoder) -> torch.Tensor:
    """Features ``(W, 4 D)`` of windows of texts."""
    device = encoder.model.device
    with torch.inference_mode():
        inputs = {name: values.to(device) for name, values in tokens.items()}
        layers = encoder.model(**inputs, output_hidden_states=True).hidden_states  # 1 + L times (W, T, D)
        mask = inputs["attention_mask"].unsqueeze(-1)  # (W, T, 1)
        depth = len(layers) - 1
        last, *lower = (layers[place].float() for place in (depth, round(depth * 2 / 3), round(depth / 3)))
        means = [(layer * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1) for layer in (last, *lower)]
        highest = last.masked_fill(mask == 0, -1e4).amax(dim=1)
        return torch.cat([means[0], highest, *means[1:]], dim=1).cpu()
