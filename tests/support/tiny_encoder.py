"""Encoders of random weights, made on the fly where a test or benchmark needs one that is quick or of a known width."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizer

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def save_encoder(folder: Path, words: Sequence[str], *, width: int, layers: int, feed_forward: int) -> None:
    """Save one that knows these words into a new folder. Its weights are the same at every call."""
    folder.mkdir(parents=True)
    vocabulary = [*MARKS, *words]
    BertTokenizer(vocab={word: number for number, word in enumerate(vocabulary)}).save_pretrained(folder)
    torch.manual_seed(0)
    settings = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=feed_forward,
    )
    BertModel(settings).save_pretrained(folder)
