"""What came in as a number, a date, a truth value, null, a list or an object goes out as such."""

from __future__ import annotations

import datetime
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook, load_workbook

from annotation.models import Project
from annotation.pipeline.export.run_export import write_csv, write_excel, write_jsonl, write_parquet
from annotation.pipeline.project import configure
from tests.support.factories import make_user
from tests.support.imports import load

pytestmark = pytest.mark.django_db

RESULTS = 11
ROWS: list[dict[str, Any]] = [
    {"id": 1, "text": "one", "score": 0.5, "ok": True, "none": None, "meta": {"a": [1, 2.5]}, "tags": ["x"]},
    {"id": 2, "text": "two", "score": 3.0, "ok": False, "none": None, "meta": {"a": []}, "tags": []},
    {"id": 12345678901234567890, "text": "three", "score": None, "meta": None, "tags": None},
]


@pytest.fixture
def project() -> Project:
    return configure.create_project(name="Letters", task_type="sentiment", owner=make_user())


def load_rows(project: Project, data: bytes, **more: Any) -> None:
    stage = load(project, data, reference_column="", **more)
    assert stage.status == "done", stage.error


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def uploaded(path: Path, columns: int) -> list[dict[str, Any]]:
    return [dict(list(json.loads(line).items())[:columns]) for line in path.read_text().splitlines()]


def test_json_goes_out_as_it_came_in(project: Project, tmp_path: Path) -> None:
    load_rows(project, jsonl(ROWS))
    write_jsonl(project, tmp_path / "a.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [dict(list(line.items())[: len(row)]) for line, row in zip(lines, ROWS, strict=True)] == ROWS


def test_a_chosen_field_within_another_is_no_column_of_its_own_in_json(
    project: Project, tmp_path: Path
) -> None:
    load_rows(project, jsonl([{"data": {"text": "one"}, "n": 1}]), content_columns=["data.text"])
    write_jsonl(project, tmp_path / "a.jsonl")
    assert uploaded(tmp_path / "a.jsonl", 2) == [{"data": {"text": "one"}, "n": 1}]
    write_parquet(project, tmp_path / "a.parquet")
    assert pq.read_table(tmp_path / "a.parquet").column_names[:2] == ["data", "n"]
    write_csv(project, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text("utf-8-sig").startswith("data,n,data.text,")


def test_parquet_goes_out_with_the_types_that_it_came_with(project: Project, tmp_path: Path) -> None:
    moment = datetime.datetime(2024, 1, 2, 3, 4, 5, 678)
    columns = {
        "id": pa.array([1, 2, None], pa.int32()),
        "text": ["one", "two", "three"],
        "score": pa.array([0.0, 0.25, None], pa.float32()),
        "when": pa.array([moment, None, moment], pa.timestamp("us", "UTC")),
        "day": pa.array([datetime.date(2024, 1, 2)] * 3),
        "clock": pa.array([datetime.time(1, 2, 3)] * 3, pa.time64("us")),
        "price": pa.array(["1.50", "2.25", None]).cast(pa.decimal128(8, 2)),
        "vector": pa.array([[0.5, 1.0], [], None], pa.list_(pa.float64())),
        "record": [{"a": 1, "b": "x"}, {"a": None, "b": "y"}, None],
        "flag": [True, False, None],
        "empty": pa.array([None, None, None], pa.string()),
    }
    table, buffer = pa.table(columns), io.BytesIO()
    pq.write_table(table, buffer)
    load_rows(project, buffer.getvalue())
    write_parquet(project, tmp_path / "a")
    back = pq.read_table(tmp_path / "a").select(table.column_names)
    assert back.schema.types == table.schema.types
    assert back.to_pylist() == table.to_pylist()


def test_json_goes_to_parquet_with_types_and_back(project: Project, tmp_path: Path) -> None:
    load_rows(project, jsonl(ROWS[:2]))
    write_parquet(project, tmp_path / "a")
    back = pq.read_table(tmp_path / "a").select(list(ROWS[0])).to_pylist()
    assert back == ROWS[:2]


def test_values_that_no_type_of_parquet_holds_are_texts(project: Project, tmp_path: Path) -> None:
    load_rows(project, jsonl([{"text": "a", "x": [1]}, {"text": "b", "x": ["y", {}]}, {"text": "c", "x": 5}]))
    write_parquet(project, tmp_path / "a")
    assert pq.read_table(tmp_path / "a")["x"].to_pylist() == ["[1]", '["y", {}]', "5"]


def test_numbers_and_dates_of_a_workbook_stay_such(project: Project, tmp_path: Path) -> None:
    book, file = Workbook(), io.BytesIO()
    assert book.active is not None
    for row in (
        ["text", "n", "share", "day", "moment", "flag", "code"],
        ["one", 7, 0.25, datetime.date(2024, 1, 2), datetime.datetime(2024, 1, 2, 3, 4, 5), True, "007"],
        ["two", None, 1e-7, None, None, False, "008"],
    ):
        book.active.append(row)
    book.save(file)
    load_rows(project, file.getvalue())
    write_excel(project, tmp_path / "a.xlsx")
    sheet = load_workbook(tmp_path / "a.xlsx")["Rows"]
    first, second = ([cell.value for cell in row][:7] for row in sheet.iter_rows(min_row=2))
    day, moment = datetime.datetime(2024, 1, 2), datetime.datetime(2024, 1, 2, 3, 4, 5)
    assert first == ["one", 7, 0.25, day, moment, True, "007"]
    assert second == ["two", None, 1e-7, None, None, False, "008"]
    write_jsonl(project, tmp_path / "a.jsonl")
    assert uploaded(tmp_path / "a.jsonl", 6)[0]["n"] == 7


def test_values_beyond_numbers_and_calendars_are_texts_in_excel(project: Project, tmp_path: Path) -> None:
    far = pa.table({"text": ["one"], "when": pa.array([10**18], pa.timestamp("us")), "x": [float("nan")]})
    buffer = io.BytesIO()
    pq.write_table(far, buffer)
    load_rows(project, buffer.getvalue())
    write_excel(project, tmp_path / "a.xlsx")
    write_jsonl(project, tmp_path / "a.jsonl")
    row = [cell.value for cell in load_workbook(tmp_path / "a.xlsx")["Rows"][2]][:3]
    assert row == ["one", str(10**18), "nan"]
    assert '"x": NaN' in (tmp_path / "a.jsonl").read_text()


def test_a_number_beyond_floats_stays_as_it_is_written(project: Project, tmp_path: Path) -> None:
    load_rows(project, b'{"text": "a", "n": 1e999}')
    write_excel(project, tmp_path / "a.xlsx")
    write_jsonl(project, tmp_path / "a.jsonl")
    assert load_workbook(tmp_path / "a.xlsx")["Rows"]["B2"].value == "1e999"
    assert '"n": 1e999' in (tmp_path / "a.jsonl").read_text()
