"""One tiny random model of every allowed type: its scores are those of transformers' own forward pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mlcore.llm.local.model import LocalModel
from mlcore.llm.local.scorer import Sharing
from mlcore.weights import MODEL_TYPES

NAMES = ["very good", "very bad", "fine", "好评", "fine and dandy"]
QUERIES = ["row: a\nlabel:", "row: a much longer row with many words\nlabel:", "row: b b b\nlabel:"]
WINDOW = 64
LONG = "Some instructions. " * 8  # and 152 tokens, more than the window
ENCODERS = {
    "albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "modernbert",
    "mpnet", "roberta", "xlm-roberta",
}  # fmt: skip


def tiny_model(model_type: str, folder: Path, tokenizer: Path) -> None:
    """Random weights of this type; where it knows sliding windows, of 64 tokens, in one of two layers if it can."""
    for path in tokenizer.glob("token*"):
        (folder / path.name).write_bytes(path.read_bytes())
    usual = AutoConfig.for_model(model_type)
    more: dict[str, Any] = {"sliding_window": WINDOW} if hasattr(usual, "sliding_window") else {}
    if more and hasattr(usual, "layer_types"):
        more |= {"use_sliding_window": True, "layer_types": ["sliding_attention", "full_attention"]}
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 400, "vocab_size": 257}
    if model_type == "falcon":
        del sizes["head_dim"]  # which it works out
    if model_type == "granite":
        more["logits_scaling"] = 3.0
    torch.manual_seed(1)
    config = AutoConfig.for_model(
        model_type, **sizes, **more, initializer_range=0.5, pad_token_id=0, eos_token_id=0, bos_token_id=0
    )
    make: Any = AutoModelForCausalLM.from_config
    make(config).save_pretrained(folder)


def plain_scores(folder: Path, model: LocalModel, prefix: str) -> np.ndarray:
    """Log-probabilities ``(N, K)`` of the names, one forward pass each of a model that was loaded by itself."""
    load: Any = AutoModelForCausalLM.from_pretrained
    plain = load(folder, dtype=torch.float32).eval()
    end = model._encode("\n")
    scores = np.zeros((len(QUERIES), len(NAMES)))
    for row, query in enumerate(QUERIES):
        before = model._encode_prefix(prefix) + model._encode(query)
        for column, name in enumerate(NAMES):
            text = model._encode(f" {name}") + end
            with torch.inference_mode():
                logits = plain(torch.tensor([before + text])).logits[0].log_softmax(-1)
            places = range(len(before) - 1, len(before) + len(text) - 1)
            scores[row, column] = sum(
                float(logits[place, token]) for place, token in zip(places, text, strict=True)
            )
    return scores


@pytest.mark.parametrize("prefix", ["Go.", LONG], ids=["short", "long"])
@pytest.mark.parametrize("model_type", sorted(MODEL_TYPES - ENCODERS))
def test_scores_are_those_of_the_models_own_forward_pass(
    folder: Path, tmp_path: Path, model_type: str, prefix: str
) -> None:
    tiny_model(model_type, tmp_path, folder)
    model = LocalModel(tmp_path, name=model_type, batch_size=2)
    assert model.score(prefix, QUERIES, NAMES) == pytest.approx(
        plain_scores(tmp_path, model, prefix), abs=3e-3
    )


def test_every_allowed_type_is_a_language_model_or_an_encoder() -> None:
    assert ENCODERS < MODEL_TYPES


def test_a_model_with_a_sliding_window_copies_its_prefix(folder: Path, tmp_path: Path) -> None:
    tiny_model("gemma3_text", tmp_path, folder)
    model = LocalModel(tmp_path, name="windowed")
    assert model._scorer.sharing is Sharing.COPIED
    assert model._scorer._model.config.sliding_window == WINDOW


def test_torch_has_the_attention_that_tells_what_its_softmax_divides_by() -> None:
    """The split prefix stands on a function of torch that has no public name."""
    query, key, value = (torch.randn(1, 2, 5, 8) for _ in range(3))
    attention, total = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, scale=0.5
    )
    scores = query @ key.transpose(2, 3) * 0.5
    torch.testing.assert_close(total, scores.logsumexp(-1))
    torch.testing.assert_close(attention, scores.softmax(-1) @ value)


def test_a_tokenizer_that_begins_texts_with_a_token_begins_prompts_with_it(
    folder: Path, tmp_path: Path
) -> None:
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    make_tokenizer: Any = PreTrainedTokenizerFast
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = TemplateProcessing(single="<|end|> $A", special_tokens=[("<|end|>", 0)])
    make_tokenizer(tokenizer_object=tokenizer, eos_token="<|end|>", bos_token="<|end|>").save_pretrained(
        tmp_path
    )
    begun, plain = LocalModel(tmp_path, name="begun"), LocalModel(folder, name="plain")
    assert begun._encode_prefix("Go.") == [0, *plain._encode_prefix("Go.")]
    assert begun._encode("Go.") == plain._encode("Go.")
