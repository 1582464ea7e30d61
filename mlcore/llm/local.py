"""A language model whose weights run in this process.

It isn't asked to write: every complete label name is scored by its log-probability behind the prompt, so each row gets
a distribution and no answer is ever unreadable. What rows share (the instructions and the demonstrations) is computed
once; a batch of rows and all label names then take one forward pass. A request with several prefixes takes one pass each.
A request that is turned round as well takes one more pass a label, over the row's tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlcore.errors import ModelUnavailableError
from mlcore.llm.head import OutputHead
from mlcore.llm.labeltree import LabelTree
from mlcore.prompts import PARAGRAPH, label_joint
from mlcore.records import Answer, FloatArray, LabelSet, Request, TurnedPrompt
from mlcore.weights import fingerprint

KEPT_PREFIXES = 8  # their keys and values stay in memory
PROBE_TOLERANCE = 0.05  # log-probability; bf16 rounding stays well below it
NO_LABELS = LabelTree.build([], end=0)  # for a text without label names behind it
TURNED_WEIGHT = 0.3  # a row's tokens are no independent witnesses: in full their word would be far too sure


class LocalModel:
    """Weights from a folder, through transformers.

    Args:
        folder: a folder that :func:`mlcore.weights.resolve_weights` has checked.
        name: what the user calls the model.
        batch_size: rows in one forward pass.
        threads: processor threads that torch may use; None leaves its default (``OMP_NUM_THREADS``).
        share_prefix: off only to measure what sharing saves.

    Raises:
        ModelUnavailableError: the weights can't be loaded.
    """

    pace = None  # nobody else's server is pressed

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        batch_size: int = 16,
        threads: int | None = None,
        share_prefix: bool = True,
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = torch.bfloat16 if _computes_bf16(self.device) else torch.float32
        self.batch_size = batch_size
        self.identity = f"local:{name}:{fingerprint(folder)}:{str(self.dtype).removeprefix('torch.')}"
        self._tokenizer, self._model = _load(folder, name, self.device, self.dtype)
        self._head = OutputHead(self._model)
        self._limit = int(getattr(self._model.config, "max_position_embeddings", None) or 1 << 30)
        self._prefixes: dict[tuple[int, ...], list[tuple[torch.Tensor, torch.Tensor]]] = {}
        self._shares_prefix = share_prefix and self._sharing_is_exact()

    def ask(
        self, requests: Sequence[Request], labels: LabelSet, *, should_stop: Callable[[], bool]
    ) -> Iterator[Answer]:
        """See :class:`mlcore.llm.model.LanguageModel`. Stops between two batches.

        Where a request is turned round too, its label's score is the mean log-probability of the name behind the
        prompts plus a share of the log-probability of the row behind the label. The second is the noisy channel of Min et
        al. ("Noisy Channel Language Model Prompting for Few-Shot Text Classification", 2022): it errs in other rows, and
        no label's name can be its favourite.
        """
        groups: dict[tuple[tuple[str, ...], str | None], list[Request]] = {}
        nodes = len(self._tree(labels.names, [request.prompt.query for request in requests[:1]]).tokens)
        lengths: dict[str, int] = {}
        for request in requests:
            for prefix in request.prefixes:
                if prefix not in lengths:
                    lengths[prefix] = len(self._encode_prefix(prefix))
            tokens = len(self._encode(request.prompt.query))
            rooms = {prefix: self._limit - nodes - lengths[prefix] for prefix in request.prefixes}
            fitting = tuple(prefix for prefix, room in rooms.items() if tokens <= room)
            if fitting:
                turned = self._fitting_turn(request, lengths)
                groups.setdefault((fitting, turned), []).append(request)
            else:
                yield _too_long(request, tokens, max(0, *rooms.values()))
        for (prefixes, turned), group in groups.items():
            yield from self._ask_group(prefixes, turned, group, labels, should_stop)

    def close(self) -> None:
        self._prefixes.clear()
        self._model = None

    def score(self, prefix: str, queries: Sequence[str], names: Sequence[str]) -> FloatArray:
        """Log-probabilities of the complete label names behind ``prefix`` and each query: ``(N, K)``."""
        rows = [self._encode(query) for query in queries]
        tree = self._tree(names, queries)
        return self._forward(self._encode_prefix(prefix), rows, tree).numpy()

    def _fitting_turn(self, request: Request, lengths: dict[str, int]) -> str | None:
        """What stands before the turned question, unless there is none or it leaves no room for the row."""
        if request.turned is None:
            return None
        prefix = request.turned.prefix
        if prefix not in lengths:
            lengths[prefix] = len(self._encode_prefix(prefix))
        longest = len(self._encode(max(request.turned.leads, key=len) + request.turned.text))
        return prefix if lengths[prefix] + longest <= self._limit else None

    def _ask_group(
        self,
        prefixes: tuple[str, ...],
        turned: str | None,
        requests: list[Request],
        labels: LabelSet,
        should_stop: Callable[[], bool],
    ) -> Iterator[Answer]:
        """Ask for rows that have the same prefixes; what a row's prompts say is averaged."""
        queries = [request.prompt.query for request in requests]
        rows = [self._encode(query) for query in queries]
        tree = self._tree(labels.names, queries)
        shared = [self._encode_prefix(prefix) for prefix in prefixes]
        turned_prefix = None if turned is None else self._encode_prefix(turned)
        order = sorted(range(len(requests)), key=lambda index: len(rows[index]))
        unpaid = sum(map(len, shared)) + len(turned_prefix or [])  # counted once, with the first batch
        for start in range(0, len(order), self.batch_size):
            if should_stop():
                return
            began = time.perf_counter()
            batch = order[start : start + self.batch_size]
            tokens = [rows[index] for index in batch]
            scores = torch.stack([self._forward(prefix, tokens, tree) for prefix in shared]).mean(0)
            read = [len(shared) * (len(row) + len(tree.tokens)) for row in tokens]
            if turned_prefix is not None:
                turns = [turn for index in batch if (turn := requests[index].turned)]
                behind, more = self._turned_scores(turned_prefix, turns)
                scores = scores + TURNED_WEIGHT * behind
                read = [sum(both) for both in zip(read, more, strict=True)]
            seconds = (time.perf_counter() - began) / len(batch)
            for index, score, own in zip(batch, scores, read, strict=True):
                yield _answer(requests[index].key, score, labels, own + unpaid, seconds)
                unpaid = 0

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def _encode_prefix(self, prefix: str) -> list[int]:
        first = self._tokenizer.bos_token_id if getattr(self._tokenizer, "add_bos_token", False) else None
        tokens = self._encode(prefix + PARAGRAPH) if prefix else []
        if first is None and not tokens:
            first = self._tokenizer.eos_token_id  # something has to stand before the first query's tokens
        return tokens if first is None else [first, *tokens]

    def _tree(self, names: Sequence[str], queries: Sequence[str]) -> LabelTree:
        joint = label_joint(queries[0]) if queries else " "
        end = self._encode("\n")[-1]
        return LabelTree.build([self._encode(joint + name) for name in names], end=end)

    @torch.inference_mode()
    def _forward(self, prefix: list[int], rows: Sequence[Sequence[int]], tree: LabelTree) -> torch.Tensor:
        """Scores (B, K) of one batch."""
        cache = None
        if self._shares_prefix:
            cache = self._expanded_prefix(prefix, len(rows))
        else:
            rows, prefix = [[*prefix, *row] for row in rows], []
        hidden, _ids = self._hidden(prefix, rows, tree, cache)
        longest = hidden.shape[1] - len(tree.tokens)
        ends = torch.tensor([len(row) - 1 for row in rows], device=self.device)
        last = hidden[torch.arange(len(rows), device=self.device), ends]
        needed = torch.cat([last[:, None], hidden[:, longest:]], dim=1)  # (B, 1 + T, D)
        places, names = (each.to(self.device) for each in tree.reads())
        logits = self._head.logits(needed[:, places], names)  # (B, P)
        return tree.total(logits - self._head.log_totals(needed)[:, places]).cpu()

    def _turned_scores(
        self, prefix: list[int], turns: Sequence[TurnedPrompt]
    ) -> tuple[torch.Tensor, list[int]]:
        """Log-probabilities (B, K) of each row behind each label, and how many tokens were read for it; all rows have the
        same leads."""
        leads = [self._encode(lead) for lead in turns[0].leads]
        texts = [self._encode(turn.text) for turn in turns]
        scores = torch.stack([self._text_scores(prefix, lead, texts) for lead in leads], dim=1)
        return scores, [sum(map(len, leads)) + len(leads) * len(text) for text in texts]

    @torch.inference_mode()
    def _text_scores(self, prefix: list[int], lead: list[int], texts: Sequence[list[int]]) -> torch.Tensor:
        """Log-probabilities (B,) of each text behind the prefix and the lead."""
        cache = None
        if self._shares_prefix:
            cache = self._expanded_prefix(prefix, len(texts))
        else:
            lead, prefix = [*prefix, *lead], []
        rows = [[*lead, *text] for text in texts]
        hidden, ids = self._hidden(prefix, rows, NO_LABELS, cache)
        first = len(lead)  # of the text's tokens; each is predicted where the one before it stands
        before, tokens = hidden[:, first - 1 : -1], ids[:, first:]
        found = self._head.logits(before, tokens) - self._head.log_totals(before)
        sizes = torch.tensor([len(text) for text in texts], device=self.device)
        is_text = torch.arange(found.shape[1], device=self.device) < sizes[:, None]
        return found.where(is_text, 0.0).sum(1).cpu()

    def _hidden(
        self, prefix: list[int], rows: Sequence[Sequence[int]], tree: LabelTree, cache: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The last layer (B, L + T, D) over the rows, the tree behind each, and their tokens (B, L + T)."""
        inputs = _pack(len(prefix), rows, tree, pad=self._tokenizer.eos_token_id or 0)
        inputs = {name: tensor.to(self.device) for name, tensor in inputs.items()}
        # Added to the attention's scores: not every architecture takes a mask of truth values.
        hidden_from = torch.finfo(self.dtype).min
        mask = torch.where(inputs.pop("mask"), 0.0, hidden_from).to(self.dtype)
        hidden = self._model.base_model(
            **inputs, attention_mask=mask, past_key_values=cache, use_cache=cache is not None
        ).last_hidden_state
        return hidden, inputs["input_ids"]

    def _expanded_prefix(self, tokens: list[int], rows: int) -> Any:
        from transformers import DynamicCache

        key = tuple(tokens)
        if key not in self._prefixes:
            if len(self._prefixes) == KEPT_PREFIXES:
                del self._prefixes[next(iter(self._prefixes))]
            computed: Any = DynamicCache()
            ids = torch.tensor([tokens], device=self.device)
            self._model.base_model(input_ids=ids, past_key_values=computed, use_cache=True)
            self._prefixes[key] = [(layer.keys, layer.values) for layer in computed.layers]
        cache = DynamicCache()
        for index, (keys, values) in enumerate(self._prefixes[key]):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), index)
        return cache

    def _sharing_is_exact(self) -> bool:
        """Whether this architecture gives the same scores with a shared prefix as without; asked of it, not assumed."""
        tree = LabelTree.build([self._encode(" yes"), self._encode(" no, not at all")], end=0)
        prefix, rows = (
            self._encode("Answer yes or no."),
            [self._encode("Is it?"), self._encode("Is it warm there?")],
        )
        self._shares_prefix = False
        plain = self._forward(prefix, rows, tree)
        self._shares_prefix = True
        try:
            shared = self._forward(prefix, rows, tree)
        except (RuntimeError, ValueError, TypeError, AttributeError):
            return False
        return bool((plain - shared).abs().max() < PROBE_TOLERANCE * max(1.0, float(plain.abs().max()) / 10))


def _computes_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 itself: three times as fast as single precision on such a processor."""
    if device.type == "cuda":
        return True
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def _load(folder: Path, name: str, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True, use_safetensors=True, dtype=dtype
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelUnavailableError(f"The weights of “{name}” can't be loaded: {error}") from error
    return tokenizer, model.eval().to(device)


def _pack(
    prefix: int, rows: Sequence[Sequence[int]], tree: LabelTree, *, pad: int
) -> dict[str, torch.Tensor]:
    """Rows padded to the longest, the label tree behind each, with positions and the mask of who sees whom."""
    count, longest, nodes = len(rows), max(len(row) for row in rows), len(tree.tokens)
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((count, longest + nodes), pad)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
    positions = (prefix + torch.arange(longest + nodes)).repeat(count, 1)
    mask = torch.zeros(count, 1, longest + nodes, prefix + longest + nodes, dtype=torch.bool)
    mask[..., :prefix] = True
    mask[:, :, :longest, prefix : prefix + longest] = torch.ones(longest, longest, dtype=torch.bool).tril()
    if nodes:
        ids[:, longest:] = torch.tensor(tree.tokens)
        positions[:, longest:] = prefix + lengths[:, None] + torch.tensor(tree.depths)
        of_row = torch.arange(longest) < lengths[:, None]  # (B, L)
        mask[:, 0, longest:, prefix : prefix + longest] = of_row[:, None, :]
        mask[:, 0, longest:, prefix + longest :] = tree.ancestors
    return {"input_ids": ids, "position_ids": positions, "mask": mask}


def _answer(key: int, score: torch.Tensor, labels: LabelSet, tokens: int, seconds: float) -> Answer:
    probs = np.asarray(score.softmax(0).numpy(), dtype=np.float64)
    label = int(probs.argmax())
    return Answer(key, label, probs, raw=labels.names[label], tokens_in=tokens, seconds=seconds)


def _too_long(request: Request, tokens: int, room: int) -> Answer:
    message = f"The row has {tokens} tokens; the model has room for {room} beside the prompt. Shorten it."
    return Answer(request.key, -1, None, raw="", error=message)
