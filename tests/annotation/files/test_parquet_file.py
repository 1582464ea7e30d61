"""Parquet: every type as text, nothing guessed, a hostile file refused or read in little memory."""

from __future__ import annotations

import datetime
import decimal
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotation.errors import InvalidFileError
from annotation.files import decoding
from annotation.files.open_table import open_table
from annotation.files.parquet_writer import write_parquet_rows
from annotation.files.records import Limits, Reading, RejectedRow, SourceRow, Table
from annotation.files.sniff import recognise
from annotation.messages import message

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

LIMITS = Limits()


def opened(path: Path, table: Any, *, limits: Limits = LIMITS, **options: Any) -> Table:
    pq.write_table(table, path, **options)
    reading = recognise(path, limits)
    assert reading.format == "parquet"
    return open_table(path, reading, limits, text_columns=["text"])


def cells_of(table: Table) -> list[list[str]]:
    return [row.cells for row in table.rows if isinstance(row, SourceRow)]


@pytest.mark.parametrize(
    ("values", "kind", "texts"),
    [
        (["007", "NA", None, "", "a\x00b", "你好"], pa.string(), ["007", "NA", "", "", "a\ufffdb", "你好"]),
        ([2**63 - 1, -(2**63), None], pa.int64(), ["9223372036854775807", "-9223372036854775808", ""]),
        ([2**64 - 1], pa.uint64(), ["18446744073709551615"]),
        ([2**53 + 1], pa.int64(), ["9007199254740993"]),
        ([0.1, 3.0, 1e22, None], pa.float64(), ["0.1", "3", "1e+22", ""]),
        ([1.1], pa.float32(), ["1.1"]),
        ([decimal.Decimal("1.50"), decimal.Decimal("-0.01")], pa.decimal128(20, 2), ["1.50", "-0.01"]),
        ([True, False, None], pa.bool_(), ["true", "false", ""]),
        ([datetime.date(2020, 1, 2)], pa.date32(), ["2020-01-02"]),
        ([datetime.datetime(2020, 1, 2, 3, 4, 5)], pa.timestamp("ms"), ["2020-01-02T03:04:05"]),
        ([1577934245000000123], pa.timestamp("ns"), ["2020-01-02T03:04:05.000000123"]),
        ([1577934245000000], pa.timestamp("us", "Asia/Shanghai"), ["2020-01-02T11:04:05+0800"]),
        ([datetime.time(1, 2, 3)], pa.time64("us"), ["01:02:03"]),
        ([[1, 2], None], pa.list_(pa.int64()), ["[1, 2]", ""]),
        ([{"a": 1, "b": "é"}], pa.struct([("a", pa.int64()), ("b", pa.string())]), ['{"a": 1, "b": "é"}']),
        ([b"plain", b"\xff\x00"], pa.binary(), ["plain", "/wA="]),
        ([None, None], pa.null(), ["", ""]),
    ],
    ids=lambda value: str(value) if isinstance(value, pa.DataType) else "",
)
def test_each_type_is_read_as_the_text_that_a_person_would_write(
    values: list[Any], kind: Any, texts: list[str], tmp_path: Path
) -> None:
    table = opened(tmp_path / "a", pa.table({"x": pa.array(values, kind)}))
    assert cells_of(table) == [[text] for text in texts]


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "PLAIN"])
def test_a_text_is_read_in_every_encoding(encoding: str, tmp_path: Path) -> None:
    texts, encodings = ["one", "only", None, "é"], {"text": encoding}
    table = opened(tmp_path / "a", pa.table({"text": texts}), use_dictionary=False, column_encoding=encodings)
    assert cells_of(table) == [["one"], ["only"], [""], ["é"]]


@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
def test_a_date_beyond_the_calendar_of_python_stays_a_number(nested: bool, tmp_path: Path) -> None:
    column = pa.array([0, 10**18, None], pa.timestamp("us"))
    far = pa.StructArray.from_arrays([column], names=["when"]) if nested else column
    cells = [row[0] for row in cells_of(opened(tmp_path / "a", pa.table({"x": far})))]
    assert "1970-01-01" in cells[0]
    assert cells[1] == ('{"when": 1000000000000000000}' if nested else "1000000000000000000")
    assert cells[2] in ("", '{"when": null}')


def test_a_category_is_its_text(tmp_path: Path) -> None:
    table = opened(tmp_path / "a", pa.table({"x": pa.array(["b", None, "b"]).dictionary_encode()}))
    assert cells_of(table) == [["b"], [""], ["b"]]


def test_what_is_no_text_is_rejected_where_a_model_is_to_read_it(tmp_path: Path) -> None:
    columns = {"text": pa.array([["a"], None, ["b"]]), "n": pa.array([1, 2, 3])}
    rows = list(opened(tmp_path / "a", pa.table(columns)).rows)
    assert rows[0] == RejectedRow(
        1, message("cell %(place)s is %(kind)s, not a text", place=1, kind=message("a list"))
    )
    assert rows[1] == SourceRow(2, ["", "2"], "0i")
    assert isinstance(rows[2], RejectedRow)


def test_fields_within_lists_and_records_are_columns(tmp_path: Path) -> None:
    chats = [[{"role": "user", "content": "hello"}, {"role": "model", "content": "hi"}], None]
    pq.write_table(pa.table({"messages": chats, "data": [{"a": {"b": 1}}, {"a": None}]}), tmp_path / "a")
    table = open_table(tmp_path / "a", Reading("parquet"), LIMITS, scan_rows=10)
    assert "messages[0].content" in table.inner
    first, second = (dict(zip(table.columns, cells, strict=True)) for cells in cells_of(table))
    assert (first["messages[0].content"], first["messages[1].content"], first["data.a.b"]) == (
        "hello",
        "hi",
        "1",
    )
    assert second["messages[0].content"] == second["data.a.b"] == ""
    wanted = open_table(
        tmp_path / "a", Reading("parquet", inner=("data.a.b",)), LIMITS, text_columns=["data.a.b"]
    )
    assert [row.cells[-1] for row in wanted.rows if isinstance(row, SourceRow)] == ["1", ""]


def test_label_numbers_have_the_names_that_the_schema_gives_them(tmp_path: Path) -> None:
    label = {"_type": "ClassLabel", "names": ["bad", "good"]}
    features = {
        "label": label,
        "all": {"_type": "Sequence", "feature": label},
        "n": {"dtype": "int64", "_type": "Value"},
    }
    columns = pa.table({"label": [1, 0, -1, None], "all": [[1], [0, 1], [], None], "n": [1, 2, 3, 4]})
    stored = columns.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    table = opened(tmp_path / "a", stored)
    assert cells_of(table) == [
        ["good", '["good"]', "1"],
        ["bad", '["bad", "good"]', "2"],
        ["", "[]", "3"],
        ["", "", "4"],
    ]


@pytest.mark.parametrize("values", [10**8, 3 * 10**7], ids=["by its description", "by its memory"])
def test_a_list_without_end_ends_neither_page_nor_worker(
    values: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if values < 10**8:
        monkeypatch.setattr(decoding, "MEMORY", 100 * 2**20)
    many = pa.ListArray.from_arrays([0, values, values], pa.array(np.ones(values, np.int64)))
    pq.write_table(pa.table({"text": ["a", "b"], "x": many}), tmp_path / "a", compression="zstd")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidFileError, match=r"unpacks to more than|MB of memory"):
        list(open_table(tmp_path / "a", Reading("parquet"), LIMITS).rows)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_text_on_so_many_rows_that_they_come_to_far_more_than_the_file_is_refused(tmp_path: Path) -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 3_000, pa.int32()), pa.array(["x" * 100_000]))
    table = opened(tmp_path / "a", pa.table({"text": texts}))
    with pytest.raises(InvalidFileError, match="times its size"):
        list(table.rows)


def test_row_groups_and_batches_make_one_table(tmp_path: Path) -> None:
    table = opened(tmp_path / "a", pa.table({"x": pa.array(range(5_500))}), row_group_size=700)
    assert cells_of(table) == [[str(number)] for number in range(5_500)]
    assert table.notes.bytes_read == table.notes.bytes_total > 0


def test_columns_of_one_name_are_told_apart(tmp_path: Path) -> None:
    table = opened(tmp_path / "a", pa.Table.from_arrays([pa.array(["1"]), pa.array(["2"])], names=["x", "x"]))
    assert table.columns == ("x", "x (2)")
    assert cells_of(table) == [["1", "2"]]


@pytest.mark.parametrize(
    ("make", "limits", "sentence"),
    [
        (lambda: {"x": [1, 2, 3]}, Limits(rows=2), "3 rows; at most 2 are allowed"),
        (lambda: {"x": [1], "y": [2]}, Limits(columns=1), "2 columns; at most 1"),
        (lambda: {"x": [str(number) for number in range(9_000)]}, Limits(unpacked_bytes=2**10), "unpacks to"),
    ],
)
def test_a_file_over_a_limit_is_refused_before_it_is_read(
    make: Callable[[], dict[str, Any]], limits: Limits, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidFileError, match=sentence):
        opened(tmp_path / "a", pa.table(make()), limits=limits)


@pytest.mark.parametrize("damage", ["cut", "footer", "page"])
def test_a_damaged_file_is_refused_with_a_sentence(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    pq.write_table(pa.table({"x": [f"text {number}" for number in range(1_000)]}), path)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[:-30]
    elif damage == "footer":
        data[-8:-4] = b"\xff\xff\xff\x7f"
    else:
        data[4:60] = b"\xff" * 56
    path.write_bytes(data)
    with pytest.raises(InvalidFileError, match=r"^The Parquet file is damaged or cut off .*\.$"):
        list(open_table(path, recognise(path, LIMITS), LIMITS).rows)


READ_IT = """
import resource, sys, django
from pathlib import Path
from annotation.files.records import Limits, RejectedRow
from annotation.files.open_table import open_table
from annotation.files.sniff import recognise
from annotation.messages import message
import pyarrow.parquet
django.setup()
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
path = Path(sys.argv[1])
rows = open_table(path, recognise(path, Limits()), Limits()).rows
rejected = sum(isinstance(row, RejectedRow) for row in rows)
print(rejected, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) // 1024)
"""


@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
def test_a_huge_text_on_every_row_takes_little_memory(nested: bool, tmp_path: Path) -> None:
    """A dictionary holds the ten megabytes once; written out, the rows would be twenty gigabytes."""
    once = pa.array(["x" * 10_000_000])
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000, pa.int32()), once)
    column = pa.StructArray.from_arrays([texts], names=["a"]) if nested else texts
    pq.write_table(pa.table({"x": column}), tmp_path / "a")
    assert (tmp_path / "a").stat().st_size < 2_000_000
    found = subprocess.run(
        [sys.executable, "-c", READ_IT, str(tmp_path / "a")],
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "coral_site.settings"},
        check=True,
        capture_output=True,
        text=True,
    )
    rejected, grown = map(int, found.stdout.split())
    assert rejected == 2_000
    assert grown < 200


def test_rows_are_written_with_numbers_as_numbers_and_texts_as_they_are(tmp_path: Path) -> None:
    rows = [[f"={number}", 0.5 if number % 2 else None, number] for number in range(12_000)]
    kinds = {"confidence": float, "round": int}
    assert write_parquet_rows(tmp_path / "a", ["text", "confidence", "round"], kinds, lambda: rows) == 12_000
    table = pq.read_table(tmp_path / "a")
    assert [str(each) for each in table.schema.types] == ["string", "double", "int64"]
    assert list(map(list, zip(*table.to_pydict().values(), strict=True))) == rows
