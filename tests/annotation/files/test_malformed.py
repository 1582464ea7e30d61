"""Every malformed file of the list is read as it must be, or refused with a sentence that says what it is."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path

import pytest

from annotation.errors import InvalidFileError
from annotation.files.open_table import open_table
from annotation.files.records import Limits, RejectedRow, SourceRow
from annotation.files.sniff import recognise
from tests.support.malformed import CASES
from tests.support.malformed.case import Case

LIMITS = Limits()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_file_comes_out_as_expected(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "stored"
    path.write_bytes(case.make())
    if case.error:
        with pytest.raises(InvalidFileError) as refusal:
            list(open_table(path, recognise(path, LIMITS), LIMITS).rows)
        assert re.search(case.error, str(refusal.value)), str(refusal.value)
        assert str(refusal.value).endswith((".", ")"))
        return
    reading = recognise(path, LIMITS)
    table = open_table(path, reading, LIMITS, text_columns=["text"])
    rows = list(table.rows)
    assert table.columns == case.columns
    stored = reading.as_dict()
    assert {name: stored[name] for name in case.reading} == case.reading
    kept = [row.cells for row in rows if isinstance(row, SourceRow)]
    if case.rows is None:
        assert len(kept) == case.count
    else:
        assert kept == case.rows
    rejected = {row.line: row.reason for row in rows if isinstance(row, RejectedRow)}
    assert rejected.keys() == case.rejected.keys()
    for line, reason in case.rejected.items():
        assert reason in str(rejected[line])
    for what, times in case.notes.items():
        assert table.notes.counts[what] == times


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if "bomb" in case.name or "endless" in case.name or "corner" in case.name],
    ids=str,
)
def test_a_hostile_file_takes_little_memory(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "stored"
    path.write_bytes(case.make())
    tracemalloc.start()
    try:
        list(open_table(path, recognise(path, LIMITS), LIMITS).rows)
    except InvalidFileError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 50 * 2**20


def test_the_list_is_long_enough() -> None:
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)
