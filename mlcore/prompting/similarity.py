"""Near-duplicates: texts that differ by case, spaces, punctuation or a few words."""

from __future__ import annotations

from collections.abc import Sequence

THRESHOLD = 0.7
ENOUGH_TEXTS = 10  # fewer may well share words by chance
_SIZE = 3


def shingles(text: str) -> frozenset[str]:
    """The runs of three letters or digits of a text; the same for texts that differ in case and punctuation only."""
    letters = "".join(character for character in text.casefold() if character.isalnum())
    return frozenset(letters[start : start + _SIZE] for start in range(max(1, len(letters) - _SIZE + 1)))


def distinct_shingles(texts: Sequence[str]) -> list[frozenset[str]]:
    """Each text's shingles without those that all of them share: column names and the like make no two rows alike.

    Of few texts nothing is taken away, for they may well share words by chance.
    """
    found = [shingles(text) for text in texts]
    common = frozenset.intersection(*found) if len(found) >= ENOUGH_TEXTS else frozenset()
    return [each - common for each in found]


def are_near(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two texts, given by their shingles, share at least seven of ten (Jaccard)."""
    small, large = sorted((len(one), len(other)))
    if small < THRESHOLD * large:
        return False
    shared = len(one & other)
    return shared >= THRESHOLD * (small + large - shared)
