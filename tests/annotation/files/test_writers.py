"""What stands before a cell of a CSV file so that no spreadsheet runs it."""

from __future__ import annotations

import time

import pytest

from annotation.files.writers import guard, unguard


@pytest.mark.parametrize("character", ["'", ";", "\t", ";'", "; ", "a", "\n"])
def test_a_long_cell_of_one_thing_is_guarded_at_once(character: str) -> None:
    cell = "a" + character * (200_000 // len(character))
    began = time.process_time()
    for text in (cell, cell[1:], f"{cell[1:]}=1"):
        assert unguard(guard(text)) == text
    assert time.process_time() - began < 5  # a quadratic reading takes minutes


@pytest.mark.parametrize("cell", ["'=1", "''=1", "'a;=1", "'';@x", "'plain", "a;b"])
def test_what_looks_guarded_already_comes_back_as_it_was(cell: str) -> None:
    assert unguard(guard(cell)) == cell
