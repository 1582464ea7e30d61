"""Near-duplicates: texts that differ by case, spaces, punctuation or a few words."""

from __future__ import annotations

THRESHOLD = 0.7
_SIZE = 3


def shingles(text: str) -> frozenset[str]:
    """The runs of three letters or digits of a text; the same for texts that differ in case and punctuation only."""
    letters = "".join(character for character in text.casefold() if character.isalnum())
    return frozenset(letters[start : start + _SIZE] for start in range(max(1, len(letters) - _SIZE + 1)))


def are_near(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two texts, given by their shingles, share at least seven of ten (Jaccard)."""
    small, large = sorted((len(one), len(other)))
    if small < THRESHOLD * large:
        return False
    shared = len(one & other)
    return shared >= THRESHOLD * (small + large - shared)
