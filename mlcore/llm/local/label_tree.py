"""Label names as a tree of tokens, so that one forward pass scores every complete name.

Names that begin with the same tokens share those nodes. The last token of a name needs no node of its own: its
probability is read where its parent stands. Only if one name is the beginning of another is the end of a name
scored too, since the shorter one would otherwise always win.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

QUERY = 0  # the position before any label token: the end of the query


@dataclass(frozen=True, slots=True)
class LabelTree:
    """The tree. ``T`` inner nodes, each one token; position 0 is the query's end, node ``i`` stands at ``i + 1``.

    ``paths[k]`` lists, for label ``k``, pairs (position to read, token whose log-probability counts).
    """

    tokens: tuple[int, ...]
    depths: tuple[int, ...]
    ancestors: torch.Tensor  # (T, T) bool: node i sees node j
    paths: tuple[tuple[tuple[int, int], ...], ...]

    @classmethod
    def build(cls, names: Sequence[Sequence[int]], *, end: int) -> LabelTree:
        """Make the tree of tokenised names; ``end`` is the token that closes a name where that is needed."""
        sequences = [tuple(name) for name in names]
        if any(_begins(short, long) for short in sequences for long in sequences):
            sequences = [(*name, end) for name in sequences]
        position: dict[tuple[int, ...], int] = {(): QUERY}
        tokens: list[int] = []
        parents: list[int] = []
        for name in sequences:
            for length in range(1, len(name)):
                if name[:length] not in position:
                    tokens.append(name[length - 1])
                    parents.append(position[name[: length - 1]])
                    position[name[:length]] = len(tokens)
        paths = tuple(
            tuple((position[name[:place]], token) for place, token in enumerate(name)) for name in sequences
        )
        ancestors = torch.eye(len(tokens), dtype=torch.bool)
        depths: list[int] = []
        for node, parent in enumerate(parents):
            depths.append(0 if parent == QUERY else depths[parent - 1] + 1)
            if parent != QUERY:
                ancestors[node] |= ancestors[parent - 1]
        return cls(tuple(tokens), tuple(depths), ancestors, paths)

    def reads(self) -> tuple[torch.Tensor, torch.Tensor]:
        """All pairs of all paths, one name after the other: the positions ``(P,)`` and the tokens ``(P,)``."""
        pairs = [pair for path in self.paths for pair in path]
        return torch.tensor([place for place, _token in pairs]), torch.tensor(
            [token for _place, token in pairs]
        )

    def names(self) -> list[list[int]]:
        """The tokens of each name that count."""
        return [[token for _place, token in path] for path in self.paths]

    def total(self, log_probs: torch.Tensor) -> torch.Tensor:
        """Sum each name's token log-probabilities, in the order of :meth:`reads`: ``(B, P)`` to ``(B, K)``."""
        parts = torch.split(log_probs, [len(path) for path in self.paths], dim=1)
        return torch.stack([part.sum(1) for part in parts], dim=1)


def _begins(short: tuple[int, ...], long: tuple[int, ...]) -> bool:
    return short != long and long[: len(short)] == short
