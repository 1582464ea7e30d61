"""A language model whose weights run in this process. It scores every label name by its log-probability behind the prompt.

Keys and values of the tokens that rows share are computed once. A batch of rows takes one forward pass for each prefix, and
one more for each label where the request is turned round too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlcore.devices import best_device, fast_dtype
from mlcore.errors import ModelUnavailableError
from mlcore.llm.local.label_tree import LabelTree
from mlcore.llm.local.scorer import Scorer
from mlcore.messages import Message
from mlcore.prompting.prompts import PARAGRAPH, label_joint
from mlcore.records import Answer, FloatArray, LabelSet, Request
from mlcore.weights import fingerprint

ROW_TOKENS = 512  # what a pass keeps in memory grows with the square of longer rows
# Of the text's log-probability behind a label: its tokens depend on each other, so the full sum would be overconfident.
TURNED_WEIGHT = 0.3


@dataclass(frozen=True, slots=True)
class _Row:
    """A request and its tokens: of the query, and of the text in the question turned round."""

    request: Request
    tokens: list[int]
    text: list[int]


class LocalModel:
    """Weights from a folder, through transformers.

    Args:
        folder: a folder that :func:`mlcore.weights.resolve_weights` has checked.
        name: what the user calls the model.
        batch_size: rows in one forward pass; fewer where they are longer than ``ROW_TOKENS``.
        threads: processor threads that torch may use; None leaves its default (``OMP_NUM_THREADS``).
        share_prefix: off only to measure what sharing saves.

    Raises:
        ModelUnavailableError: the weights can't be loaded.
    """

    # No server is asked.
    capabilities = None
    rate_limiter = None

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        batch_size: int = 32,
        threads: int | None = None,
        share_prefix: bool = True,
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.device = best_device()
        self.dtype = fast_dtype(self.device)
        self.batch_size = batch_size
        self.identity = f"local:{name}:{fingerprint(folder)}:{str(self.dtype).removeprefix('torch.')}"
        self._tokenizer, model = load_model(folder, name, self.device, self.dtype)
        self._limit = int(getattr(model.config, "max_position_embeddings", None) or 1 << 30)
        pad = self._tokenizer.eos_token_id or 0
        self._scorer = Scorer(model, pad=pad, share=share_prefix, tokens_of=self._encode)

    def ask(
        self, requests: Sequence[Request], labels: LabelSet, *, should_stop: Callable[[], bool]
    ) -> Iterator[Answer]:
        """See :class:`mlcore.llm.model.LanguageModel`. Stops between two batches.

        Where a request is turned round too, its label's score is the mean log-probability of the name behind the
        prompts plus a share of the log-probability of the row behind the label. The second is the noisy channel of Min et
        al. ("Noisy Channel Language Model Prompting for Few-Shot Text Classification", 2022): it errs in other rows, and
        no label's name can be its favourite.
        """
        groups: dict[tuple[tuple[str, ...], str | None], list[_Row]] = {}
        nodes = len(self._tree(labels.names, [request.prompt.query for request in requests[:1]]).tokens)
        lengths: dict[str, int] = {}
        for request in requests:
            for prefix in request.prefixes:
                if prefix not in lengths:
                    lengths[prefix] = len(self._encode_prefix(prefix))
            tokens = self._encode(request.prompt.query)
            rooms = {prefix: self._limit - nodes - lengths[prefix] for prefix in request.prefixes}
            fitting = tuple(prefix for prefix, room in rooms.items() if len(tokens) <= room)
            if fitting:
                turned, text = self._fitting_turn(request, lengths)
                groups.setdefault((fitting, turned), []).append(_Row(request, tokens, text))
            else:
                yield _too_long(request, len(tokens), max(0, *rooms.values()))
        for (prefixes, turned), group in groups.items():
            yield from self._ask_group(prefixes, turned, group, labels, should_stop)

    def close(self) -> None:
        self._scorer.close()

    def score(self, prefix: str, queries: Sequence[str], names: Sequence[str]) -> FloatArray:
        """Log-probabilities of the complete label names behind ``prefix`` and each query: ``(N, K)``."""
        rows = [self._encode(query) for query in queries]
        tree = self._tree(names, queries)
        return self._scorer.name_scores(self._encode_prefix(prefix), rows, tree, complete=True).numpy()

    def _fitting_turn(self, request: Request, lengths: dict[str, int]) -> tuple[str | None, list[int]]:
        """What stands before the turned question, and the row's tokens there; none if it leaves no room for the row."""
        turned = request.turned
        if turned is None:
            return None, []
        if turned.prefix not in lengths:
            lengths[turned.prefix] = len(self._encode_prefix(turned.prefix))
        text = self._encode(turned.text)
        longest = len(self._encode(max(turned.leads, key=len))) + len(text)
        return (turned.prefix, text) if lengths[turned.prefix] + longest <= self._limit else (None, [])

    def _ask_group(
        self,
        prefixes: tuple[str, ...],
        turned: str | None,
        rows: list[_Row],
        labels: LabelSet,
        should_stop: Callable[[], bool],
    ) -> Iterator[Answer]:
        """Ask for rows that have the same prefixes; what a row's prompts say is averaged."""
        rows = sorted(rows, key=_length)
        tree = self._tree(labels.names, [row.request.prompt.query for row in rows])
        shared = [self._encode_prefix(prefix) for prefix in prefixes]
        lead = _common_start(rows)
        turned_prefix = None if turned is None else self._encode_prefix(turned)
        unpaid = sum(map(len, shared)) + len(turned_prefix or [])  # counted once, with the first row
        for batch in _batches(rows, most=self.batch_size):
            if should_stop():
                return
            began = time.perf_counter()
            scores = self._name_scores(shared, batch, lead=lead, tree=tree)
            read = [len(shared) * (len(row.tokens) + len(tree.tokens)) for row in batch]
            if turned_prefix is not None:
                behind, more = self._turned_scores(turned_prefix, batch)
                scores = scores + TURNED_WEIGHT * behind
                read = [sum(both) for both in zip(read, more, strict=True)]
            seconds = (time.perf_counter() - began) / len(batch)
            for row, score_of_row, own in zip(batch, scores, read, strict=True):
                yield _answer(row.request.key, score_of_row, labels, own + unpaid, seconds)
                unpaid = 0

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def _encode_prefix(self, prefix: str) -> list[int]:
        first = self._tokenizer.bos_token_id
        # What it does is asked, since a converted tokenizer's settings don't say it.
        if self._tokenizer("a").input_ids[:1] != [first]:
            first = None
        tokens = self._encode(prefix + PARAGRAPH) if prefix else []
        if first is None and not tokens:
            first = self._tokenizer.eos_token_id  # something has to stand before the first query's tokens
        return tokens if first is None else [first, *tokens]

    def _tree(self, names: Sequence[str], queries: Sequence[str]) -> LabelTree:
        joint = label_joint(queries[0]) if queries else " "
        end = self._encode("\n")[-1]
        return LabelTree.build([self._encode(joint + name) for name in names], end=end)

    def _name_scores(
        self, prefixes: Sequence[list[int]], rows: Sequence[_Row], *, lead: list[int], tree: LabelTree
    ) -> torch.Tensor:
        """Scores (B, K) of the names behind each row, but for a constant a row; the mean over the prefixes."""
        tokens = [row.tokens[len(lead) :] for row in rows]
        scores = [self._scorer.name_scores(prefix, tokens, tree, lead=lead) for prefix in prefixes]
        return torch.stack(scores).mean(0)

    def _turned_scores(self, prefix: list[int], rows: Sequence[_Row]) -> tuple[torch.Tensor, list[int]]:
        """Log-probabilities (B, K) of each row behind each label, and how many tokens were read for it; all rows have the
        same leads."""
        turned = rows[0].request.turned
        assert turned is not None  # rows are grouped by what stands before it
        texts = [row.text for row in rows]
        scores = [self._scorer.text_scores(prefix, self._encode(lead), texts) for lead in turned.leads]
        return torch.stack(scores, dim=1), [len(scores) * len(text) for text in texts]


def _length(row: _Row) -> int:
    return max(len(row.tokens), len(row.text))


def _batches(rows: Sequence[_Row], *, most: int) -> Iterator[list[_Row]]:
    """Rows that are sorted by length, in batches; of long ones fewer, with no more tokens than ``most`` usual rows have."""
    batch: list[_Row] = []
    for row in rows:
        if batch and (len(batch) == most or (len(batch) + 1) * _length(row) > most * ROW_TOKENS):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _common_start(rows: Sequence[_Row]) -> list[int]:
    """The tokens that all rows begin with, such as a question's first word; none of them ends there."""
    first, last = min(row.tokens for row in rows), max(row.tokens for row in rows)
    shortest = min(len(row.tokens) for row in rows)
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first[: max(0, shortest - 1)], last, strict=False))
    return [token for token, _other in same]


def load_model(folder: Path, name: str, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True, use_safetensors=True, dtype=dtype
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelUnavailableError("weights_unreadable", name=name, reason=str(error)) from error
    return tokenizer, model.eval().to(device)


def _answer(key: int, score: torch.Tensor, labels: LabelSet, tokens: int, seconds: float) -> Answer:
    probs = np.asarray(score.softmax(0).numpy(), dtype=np.float64)
    label = int(probs.argmax())
    return Answer(key, label, probs, raw=labels.names[label], tokens_in=tokens, seconds=seconds)


def _too_long(request: Request, tokens: int, room: int) -> Answer:
    message = Message("row_too_long", {"tokens": tokens, "room": room})
    return Answer(request.key, -1, None, raw="", error=message)
