"""Whether the first row names the columns, judged by the rows below it."""

from __future__ import annotations

from pathlib import Path

import pytest

from annotation.files.first_row import FirstRow, judge_first_row
from annotation.files.records import Limits, Reading

TEXTS = [
    "The app is slow today",
    "I like it",
    "It closed by itself again",
    "Works as it should",
    "Too loud at night",
]


def judged(folder: Path, rows: list[list[str]], delimiter: str = ",") -> FirstRow | None:
    path = folder / "a.csv"
    path.write_text("\n".join(map(delimiter.join, rows)))
    return judge_first_row(path, Reading("csv", delimiter=delimiter), Limits())


def with_texts(*columns: list[str]) -> list[list[str]]:
    return [list(row) for row in zip(*columns, TEXTS, strict=True)]


@pytest.mark.parametrize(
    "rows",
    [
        with_texts(["1", "2", "1", "2", "1"]),
        with_texts(["good", "bad", "good", "bad", "good"]),
        with_texts(["2024-01-01", "2024-02-01", "2024-02-03", "2024-11-01", "2024-12-01"]),
        with_texts(["A-17", "B-2", "C-3", "D-44", "E-5"], ["x", "y", "x", "y", "x"]),
        [[text] for text in TEXTS],
        [["1", "1", "9"], ["3", "4", "8"], ["2", "5", "7"]],
    ],
    ids=["numbers", "labels", "dates", "codes", "texts only", "numbers only"],
)
def test_a_first_row_like_the_others_is_a_row(rows: list[list[str]], tmp_path: Path) -> None:
    found = judged(tmp_path, rows)
    assert found
    assert found.sure


@pytest.mark.parametrize(
    "names",
    [["label", "text"], ["Score", "Words"], ["stars", "comment"], ["类别", "内容"]],
)
def test_names_are_names(names: list[str], tmp_path: Path) -> None:
    assert judged(tmp_path, [names, *with_texts(["1", "2", "1", "2", "1"])]) is None


def test_years_may_name_columns_of_numbers(tmp_path: Path) -> None:
    rows = [["country", "2019", "2020"], ["Chile", "3.5", "4"], ["Peru", "6", "7.5"], ["Fiji", "1", "3"]]
    assert judged(tmp_path, rows) is None


def test_a_first_row_that_may_be_either_is_not_called_sure(tmp_path: Path) -> None:
    found = judged(
        tmp_path, [["quality", "How did you like the film"], *with_texts(["1", "2", "1", "2", "1"])]
    )
    assert found
    assert not found.sure


def test_one_short_text_a_line_leaves_doubt(tmp_path: Path) -> None:
    found = judged(tmp_path, [[text] for text in ("good", "bad", "fine", "poor")], delimiter="")
    assert found
    assert not found.sure
