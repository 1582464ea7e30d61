"""Log-probabilities of label names behind rows, and of rows behind labels, by forward passes over a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any

import torch

from mlcore.llm.local.head import OutputHead
from mlcore.llm.local.label_tree import QUERY, LabelTree
from mlcore.llm.local.prefix import ATTENTION, SharedPrefix, keys_beside, register

KEPT_PREFIXES = 24  # their keys and values stay in memory: some sets of demonstrations, and a few with a lead
# Log-probabilities differ less by rounding alone, and more if anything is left out of the attention.
PROBE_TOLERANCE = {torch.float32: 0.02, torch.bfloat16: 0.3}
PROBE_WINDOW = 16  # fewer tokens than the probe's prompt has, so that sliding windows take part in it
NO_LABELS = LabelTree.build([], end=0)  # for a text without label names behind it

Tokens = Sequence[int]


class Sharing(Enum):
    """What is done with the tokens that a batch's rows share."""

    ALONE = "nothing is shared: every name is read behind every row, as the model itself reads a text"
    NOT = "read again in every row"
    COPIED = "read once, and copied for every row"
    SPLIT = "read once, and attended to by all rows together"


class Scorer:
    """A causal transformers model.

    Args:
        model: it, on its device.
        pad: any token, to fill up shorter rows.
        share: off only to measure what sharing saves.
        tokens_of: makes tokens of a text, to find out which way of sharing is exact.
    """

    def __init__(self, model: Any, *, pad: int, share: bool, tokens_of: Callable[[str], Tokens]) -> None:
        self._model = model
        self._pad = pad
        self._head = OutputHead(model)
        self._prefixes: dict[tuple[int, ...], SharedPrefix] = {}
        self.sharing = Sharing.ALONE
        with self._short_window():
            self.sharing = self._exact_sharing(tokens_of, share)

    @torch.inference_mode()
    def name_scores(
        self,
        prefix: Tokens,
        rows: Sequence[Tokens],
        tree: LabelTree,
        *,
        lead: Tokens = (),
        complete: bool = False,
    ) -> torch.Tensor:
        """Log-probabilities ``(B, K)`` of complete names behind the prefix, the lead and each row.

        All of a row's miss the same constant, so that the whole vocabulary need not be looked at where names consist of
        one token; ``complete`` adds it.
        """
        if self.sharing is Sharing.ALONE:
            names = tree.names()
            return torch.tensor(
                [[self._alone([*prefix, *lead, *row], name) for name in names] for row in rows]
            )
        hidden, _ids = self._read(prefix, lead, rows, tree)
        nodes = hidden.shape[1] - len(tree.tokens)
        ends = torch.tensor([len(row) for row in rows], device=hidden.device)
        last = hidden[torch.arange(len(rows), device=hidden.device), ends]
        needed = torch.cat([last[:, None], hidden[:, nodes:]], dim=1)  # (B, 1 + T, D)
        places, tokens = (each.to(hidden.device) for each in tree.reads())
        logits = self._head.logits(needed[:, places], tokens)  # (B, P)
        totals = logits.new_zeros(needed.shape[:2])
        counted = slice(QUERY if complete else QUERY + 1, None)
        totals[:, counted] = self._head.log_totals(needed[:, counted])
        return tree.total(logits - totals[:, places]).cpu()

    @torch.inference_mode()
    def text_scores(self, prefix: Tokens, lead: Tokens, texts: Sequence[Tokens]) -> torch.Tensor:
        """Log-probabilities ``(B,)`` of each text behind the prefix and the lead."""
        if self.sharing is Sharing.ALONE:
            return torch.tensor([self._alone([*prefix, *lead], text) for text in texts])
        hidden, ids = self._read(prefix, lead, texts, NO_LABELS)
        before = hidden[:, :-1]  # each token is predicted where the one before it stands
        found = self._head.logits(before, ids) - self._head.log_totals(before)
        sizes = torch.tensor([len(text) for text in texts], device=hidden.device)
        is_text = torch.arange(found.shape[1], device=hidden.device) < sizes[:, None]
        return found.where(is_text, 0.0).sum(1).cpu()

    def close(self) -> None:
        self._prefixes.clear()
        self._model = None

    def _alone(self, before: Tokens, text: Tokens) -> float:
        """The log-probability of the text behind other tokens, by a forward pass of their own."""
        ids = torch.tensor([[*before, *text]], device=self._model.device)
        logits = self._model(input_ids=ids, use_cache=False).logits[0, len(before) - 1 : -1].float()
        return float(logits.log_softmax(-1).gather(1, ids[0, len(before) :, None]).sum())

    def _read(
        self, prefix: Tokens, lead: Tokens, rows: Sequence[Tokens], tree: LabelTree
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The last layer ``(B, 1 + L + T, D)`` at the end of what is shared, over the rows, and over the tree behind each;
        and their tokens ``(B, L + T)``."""
        if self.sharing is Sharing.NOT:
            shared = [*prefix, *lead]
            hidden, ids = self._forward(None, [[*shared, *row] for row in rows], tree)
            return hidden[:, len(shared) - 1 :], ids[:, len(shared) :]
        known = self._shared(tuple(prefix), tuple(lead))
        hidden, ids = self._forward(known, rows, tree)
        return torch.cat([known.end.expand(len(rows), 1, -1), hidden], dim=1), ids

    def _forward(
        self, known: SharedPrefix | None, rows: Sequence[Tokens], tree: LabelTree
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The last layer ``(B, L + T, D)`` over the rows and the tree behind each, and their tokens ``(B, L + T)``."""
        longest = max(1, *(len(row) for row in rows), 0)
        given: dict[str, Any] = {}
        start = before = 0
        width = longest + len(tree.tokens)
        if known is not None and self.sharing is Sharing.SPLIT:
            start, before, width = known.length, known.apart, keys_beside(known, width)
            given = {"shared_prefix": known, "use_cache": False}
        elif known is not None:
            start = before = known.length
            width += before
            given = {"past_key_values": known.cache(len(rows)), "use_cache": True}
        packed = _pack(rows, tree, longest=longest, start=start, pad=self._pad)
        seen = _who_sees_whom(rows, tree, longest=longest, before=before, width=width)
        mask = self._masks(seen, packed[1], before)
        device = self._model.device
        ids, positions = (each.to(device) for each in packed)
        if known is None:
            given = {"use_cache": False}
        hidden = self._model.base_model(
            input_ids=ids, position_ids=positions, attention_mask=mask, **given
        ).last_hidden_state
        return hidden, ids

    def _masks(self, seen: torch.Tensor, positions: torch.Tensor, before: int) -> Any:
        """What is added to the attention's scores, as the model takes it: one mask, or one for each kind of layer.

        Args:
            seen: ``(B or 1, 1, L + T, width)``, who sees whom where no window slides.
            positions: ``(B, L + T)``.
            before: columns before those of the positions.
        """
        full = self._added(seen)
        if self._window is None:
            return full
        keys = torch.cat([torch.arange(before).expand(len(positions), -1), positions], dim=1)  # (B, width)
        near = positions[:, :, None] - keys[:, None] < self._window  # (B, L + T, width)
        sliding = self._added(seen & near[:, None])
        if getattr(self._model.config, "layer_types", None) is None:
            return sliding
        return {"full_attention": full, "sliding_attention": sliding}

    def _added(self, seen: torch.Tensor) -> torch.Tensor:
        # Not every architecture takes a mask of truth values.
        mask = torch.zeros(seen.shape, dtype=self._model.dtype)
        return mask.masked_fill_(~seen, torch.finfo(mask.dtype).min).to(self._model.device)

    @property
    def _window(self) -> int | None:
        """How many tokens back a layer with a sliding window sees, itself among them; None where there is no such layer."""
        config = self._model.config
        window = getattr(config, "sliding_window", None)
        layers = getattr(config, "layer_types", None)
        return int(window) if window and (layers is None or "sliding_attention" in layers) else None

    @contextmanager
    def _short_window(self) -> Iterator[None]:
        """Sliding windows of ``PROBE_WINDOW`` tokens inside: the model's own may be longer than a probe should be."""
        window = self._window
        if window is not None:
            self._model.config.sliding_window = PROBE_WINDOW
        try:
            yield
        finally:
            if window is not None:
                self._model.config.sliding_window = window

    def _shared(self, prefix: tuple[int, ...], lead: tuple[int, ...]) -> SharedPrefix:
        """What the model makes of the prefix and the lead behind it; the last few are remembered."""
        key = prefix + lead
        found = self._prefixes.pop(key, None)
        if found is None:
            found = self._continue(self._shared(prefix, ()) if prefix and lead else None, lead or prefix)
            while len(self._prefixes) >= KEPT_PREFIXES:
                del self._prefixes[next(iter(self._prefixes))]
        self._prefixes[key] = found  # as the one used last
        return found

    def _continue(self, known: SharedPrefix | None, tokens: tuple[int, ...]) -> SharedPrefix:
        from transformers import DynamicCache

        cache: Any = DynamicCache() if known is None else known.cache(1)
        start = 0 if known is None else known.length
        device = self._model.device
        hidden = self._model.base_model(
            input_ids=torch.tensor([tokens], device=device),
            position_ids=start + torch.arange(len(tokens), device=device)[None],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        layers = tuple((layer.keys, layer.values) for layer in cache.layers)
        return SharedPrefix(layers, hidden[0, -1], start + len(tokens))

    def _exact_sharing(self, tokens_of: Callable[[str], Tokens], share: bool) -> Sharing:
        """The best way of sharing that gives this architecture its own forward pass' scores; asked of it, not assumed."""
        tree = LabelTree.build([tokens_of(" yes"), tokens_of(" no, not at all")], end=0)
        prefix = tokens_of(
            "Read the question. Answer yes or no, and never anything else; if it is unclear, say no."
        )
        rows, lead = [tokens_of("Is it?"), tokens_of("Is it warm there?")], tokens_of("It was said:")
        wanted = self.name_scores(prefix, rows, tree, lead=lead, complete=True)
        tolerance = PROBE_TOLERANCE[self._model.dtype]
        usual = self._model.config._attn_implementation
        for sharing in (Sharing.SPLIT, Sharing.COPIED, Sharing.NOT) if share else (Sharing.NOT,):
            # All rows attend to the whole prefix together, which a window doesn't allow.
            can_split = self._model.device.type == "cpu" and usual == "sdpa" and self._window is None
            if sharing is Sharing.SPLIT and not can_split:
                continue
            self.sharing = sharing
            try:
                if sharing is Sharing.SPLIT:
                    register()
                    self._model.set_attn_implementation(ATTENTION)
                found = self.name_scores(prefix, rows, tree, lead=lead, complete=True)
            except (RuntimeError, ValueError, TypeError, AttributeError):
                found = None
            self._prefixes.clear()
            if found is not None and float((wanted - found).abs().max()) < tolerance:
                return sharing
            self._model.set_attn_implementation(usual)
        return Sharing.ALONE


def _pack(
    rows: Sequence[Tokens], tree: LabelTree, *, longest: int, start: int, pad: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows padded to the longest, the label tree behind each: tokens and positions, ``(B, L + T)``."""
    count, nodes = len(rows), len(tree.tokens)
    ids = torch.full((count, longest + nodes), pad)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row, dtype=torch.long)
    positions = (start + torch.arange(longest + nodes)).repeat(count, 1)
    if nodes:
        lengths = torch.tensor([len(row) for row in rows])
        ids[:, longest:] = torch.tensor(tree.tokens)
        positions[:, longest:] = start + lengths[:, None] + torch.tensor(tree.depths)
    return ids, positions


def _who_sees_whom(
    rows: Sequence[Tokens], tree: LabelTree, *, longest: int, before: int, width: int
) -> torch.Tensor:
    """Truth values ``(B or 1, 1, L + T, width)``: all see the columns before, a row's token those up to its own, a node
    its row and its ancestors. Nobody sees columns that are left over."""
    nodes = len(tree.tokens)
    end = before + longest
    seen = torch.zeros(len(rows) if nodes else 1, 1, longest + nodes, width, dtype=torch.bool)
    seen[..., :before] = True
    seen[:, :, :longest, before:end] = torch.ones(longest, longest, dtype=torch.bool).tril()
    if nodes:
        lengths = torch.tensor([len(row) for row in rows])
        of_row = torch.arange(longest) < lengths[:, None]  # (B, L)
        seen[:, 0, longest:, before:end] = of_row[:, None, :]
        seen[:, 0, longest:, end : end + nodes] = tree.ancestors
    return seen
