"""What a table's columns hold, guessed from their values: numbers, categories or text. Plain Python, loads nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

# ``empty``: the column holds nothing that tells rows apart.
Kind = Literal["number", "category", "text", "empty"]
CHOICES: tuple[Kind, ...] = ("number", "category", "text")

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-"})
MOST_CATEGORIES = 50
NUMBER_SHARE = 0.95
CODE_SHARE = 0.01
CATEGORY_WORDS = 3

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_CODE = re.compile(r"0[0-9]+")


def is_missing(value: str) -> bool:
    """Whether a cell says nothing: it is empty, or one of the words that stand for that."""
    return value.strip().lower() in MISSING


def guess_kind(values: Sequence[str]) -> Kind:
    """What a column holds, by its values or a sample of them.

    Nearly all numbers make a number column, however few different ones there are: their order is worth keeping. Codes
    such as ``007`` are numbers in looks only and make a category, as few different values do; but longer phrases that
    hardly repeat are text, however few rows there are.
    """
    present = [value.strip() for value in values if not is_missing(value)]
    different = set(present)
    if not different or (len(different) < 2 and len(present) == len(values)):
        return "empty"
    if sum(map(bool, map(_NUMBER.fullmatch, present))) >= NUMBER_SHARE * len(present):
        codes = sum(map(bool, map(_CODE.fullmatch, present)))
        return "category" if codes >= CODE_SHARE * len(present) else "number"
    words = sum(len(value.split()) for value in different) / len(different)
    if len(different) > MOST_CATEGORIES or (words > CATEGORY_WORDS and len(different) > len(present) / 2):
        return "text"
    return "category"
