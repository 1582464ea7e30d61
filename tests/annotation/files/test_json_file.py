"""JSON in every layout that people have, and the fields within its lists and objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from annotation.errors import InvalidFileError
from annotation.files.open_table import open_table
from annotation.files.records import Limits, RejectedRow, SourceRow, Table
from annotation.files.sniff import recognise

ROWS = [{"text": "a fine film", "label": "good"}, {"text": "a poor film", "label": "bad"}]
CELLS = [["a fine film", "good"], ["a poor film", "bad"]]


def opened(folder: Path, text: str, **options: Any) -> Table:
    path = folder / "a.json"
    path.write_text(text)
    return open_table(path, recognise(path, Limits()), Limits(), **options)


def cells_of(table: Table) -> list[list[str]]:
    return [row.cells for row in table.rows if isinstance(row, SourceRow)]


@pytest.mark.parametrize("indent", [None, 2], ids=["in a line", "over lines"])
@pytest.mark.parametrize(
    "value",
    [
        ROWS,
        {"data": ROWS, "version": 1},
        {"schema": {"fields": []}, "data": ROWS},
        {"text": ["a fine film", "a poor film"], "label": ["good", "bad"]},
        {"columns": ["text", "label"], "index": [0, 1], "data": CELLS},
        {"text": {"0": "a fine film", "1": "a poor film"}, "label": {"0": "good", "1": "bad"}},
        {"0": ROWS[0], "1": ROWS[1]},
        {"text": "a film", "rows": ROWS},
    ],
    ids=["array", "within", "table", "lists", "split", "columns", "index", "beside"],
)
def test_a_table_is_read_in_each_layout(value: Any, indent: int | None, tmp_path: Path) -> None:
    table = opened(tmp_path, json.dumps(value, indent=indent))
    assert table.columns == ("text", "label")
    assert cells_of(table) == CELLS


def test_an_index_of_names_is_a_column(tmp_path: Path) -> None:
    table = opened(tmp_path, json.dumps({"a1": ROWS[0], "b2": ROWS[1]}))
    assert cells_of(table) == [["a1", *CELLS[0]], ["b2", *CELLS[1]]]
    assert table.columns == ("index", "text", "label")


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(json.dumps(row, indent=2) for row in ROWS),
        ",\n".join(json.dumps(row, indent=2) for row in ROWS),
        json.dumps(ROWS[:1], indent=1) + json.dumps(ROWS[1:], indent=1),
    ],
    ids=["objects", "with commas", "arrays"],
)
def test_values_one_after_the_other_are_all_read(text: str, tmp_path: Path) -> None:
    assert cells_of(opened(tmp_path, text)) == CELLS


@pytest.mark.parametrize("text", [json.dumps(CELLS), "\n".join(map(json.dumps, CELLS))])
def test_lists_are_rows_of_numbered_columns(text: str, tmp_path: Path) -> None:
    table = opened(tmp_path, text)
    assert (table.columns, cells_of(table)) == (("column 1", "column 2"), CELLS)


def test_texts_are_rows_of_one_column(tmp_path: Path) -> None:
    table = opened(tmp_path, json.dumps(["one", "two"]))
    assert (table.columns, cells_of(table)) == (("text",), [["one"], ["two"]])


def test_a_row_of_another_shape_is_rejected(tmp_path: Path) -> None:
    rows = list(opened(tmp_path, json.dumps([*ROWS, ["a", "b"], "c"])).rows)
    assert [type(row) for row in rows] == [SourceRow, SourceRow, RejectedRow, RejectedRow]


def test_one_object_that_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError, match="one JSON object, not rows"):
        opened(tmp_path, json.dumps({"name": "x", "version": {"a": 1}}, indent=2))


def test_what_stands_after_an_array_is_not_dropped(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError, match="damaged in the row that begins at line 1"):
        cells_of(opened(tmp_path, json.dumps(ROWS) + " and more"))


def test_nan_is_an_empty_cell_and_infinity_a_number(tmp_path: Path) -> None:
    table = opened(tmp_path, '{"a": NaN, "b": -Infinity, "c": 1.50}\n')
    assert list(table.rows) == [SourceRow(1, ["", "-Infinity", "1.50"], "fff")]


def test_fields_within_are_columns(tmp_path: Path) -> None:
    rows = [{"data": {"text": "hello"}, "messages": [{"content": "hi"}, {"content": "you"}], "tags": ["x"]}]
    table = opened(tmp_path, json.dumps(rows), scan_rows=10)
    assert table.inner == ("data.text", "messages[0].content", "messages[1].content")
    assert cells_of(table)[0][3:] == ["hello", "hi", "you"]


def test_a_key_with_a_point_is_found(tmp_path: Path) -> None:
    table = opened(tmp_path, json.dumps([{"a.b": {"c.d[0]": "x"}, "a": {"b": "y"}}]), scan_rows=10)
    assert dict(zip(table.columns, cells_of(table)[0], strict=True))["a.b.c.d[0]"] == "x"


def test_each_cell_has_the_type_that_it_came_with(tmp_path: Path) -> None:
    row = '{"a": 1, "b": 0.5, "c": true, "d": null, "e": [1], "f": {"x": 1.5}, "g": "t", "h": 12345678901234567890}\n{}'
    first, second = opened(tmp_path, row).rows
    assert isinstance(first, SourceRow)
    assert first.types == "ifb0losn"
    assert first.cells == ["1", "0.5", "true", "", "[1]", '{"x": 1.5}', "t", "12345678901234567890"]
    assert isinstance(second, SourceRow)
    assert second.types == "-" * 8
