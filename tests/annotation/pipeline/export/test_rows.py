"""What stands in an exported file."""

from __future__ import annotations

import csv
import json
import zipfile
from importlib.util import find_spec
from pathlib import Path

import openpyxl
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotation.files.excel import writer
from annotation.files.writers import RESULT_COLUMNS
from annotation.models import Flag, Project, Sample, Source
from annotation.pipeline.export import run_export
from annotation.pipeline.project import configure
from annotation.pipeline.review import corrections
from mlcore.config import LlmConfig
from tests.support.exports import NASTY, nasty_project, rows_of, uploaded_cells
from tests.support.factories import make_project, start_llm_round

pytestmark = pytest.mark.django_db

# Parquet too, wherever the locked packages are installed.
FORMATS = [*("xlsx", "csv", "jsonl"), *(["parquet"] if find_spec("pyarrow") else [])]


@pytest.fixture
def project() -> Project:
    return make_project(rows=12)


def test_the_uploaded_columns_come_first_and_untouched(project: Project, tmp_path: Path) -> None:
    assert run_export.write_excel(project, tmp_path / "a.xlsx") == 12
    header, *rows = rows_of(tmp_path / "a.xlsx")
    assert header == ["id", "text", "truth", *RESULT_COLUMNS]
    assert [row[:3] for row in rows] == uploaded_cells(project, 3)


def test_a_row_tells_its_labels_where_they_come_from_and_who_corrected_it(
    project: Project, tmp_path: Path
) -> None:
    positive, negative = project.label_list()
    sample = project.samples.get(position=1)
    Sample.objects.filter(pk=sample.pk).update(
        label=positive, source=Source.SLM, llm_label=negative, slm_label=positive, confidence=0.91234567, clean_prob=0.25,
        risk=0.5, flag=Flag.INCONSISTENT, round=2,
    )  # fmt: skip
    corrections.correct_sample(sample.pk, label_id=negative.pk, user=project.owner, seen_version=0)
    run_export.write_excel(project, tmp_path / "a.xlsx")
    row = dict(zip(RESULT_COLUMNS, rows_of(tmp_path / "a.xlsx")[2][3:], strict=True))
    when = row.pop("corrected_at")
    assert row == {
        "final_label": "negative", "source": "person", "llm_label": "negative", "slm_label": "positive", "confidence": 0.912346,
        "clean_probability": None, "risk": 0, "flag": None, "corrected_by": "olga", "round": 2,
        "unclear": None, "note": None,
    }  # fmt: skip
    assert when.endswith("+00:00")


def test_a_column_of_ours_that_is_taken_gets_a_prefix(project: Project, tmp_path: Path) -> None:
    project.columns = ["id", "text", "Source"]
    project.save()
    run_export.write_csv(project, tmp_path / "a.csv")
    header = (tmp_path / "a.csv").read_text("utf-8-sig").splitlines()[0].split(",")
    assert header[:5] == ["id", "text", "Source", "final_label", "coral_source"]


def test_no_cell_of_a_workbook_is_a_formula_or_a_link(tmp_path: Path) -> None:
    project = nasty_project(NASTY)
    run_export.write_excel(project, tmp_path / "a.xlsx")
    with zipfile.ZipFile(tmp_path / "a.xlsx") as package:
        for name in package.namelist():
            assert b"<f>" not in package.read(name)
            assert b"<hyperlink" not in package.read(name)
    book = openpyxl.load_workbook(tmp_path / "a.xlsx")
    assert {cell.data_type for sheet in book for row in sheet.iter_rows() for cell in row} <= {
        "s",
        "n",
        "inlineStr",
    }


def test_a_csv_cell_that_a_spreadsheet_would_run_is_guarded_and_a_number_is_not(tmp_path: Path) -> None:
    run_export.write_csv(
        nasty_project(["=1+1", "-1.5", "+7", "-1+1", "@x", "\t=1", "plain", "'=1", "a;=1", "a;b"]),
        tmp_path / "a.csv",
    )
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[0] == "'=id"
    assert [row[1] for row in rows] == [
        "'=1+1",
        "-1.5",
        "+7",
        "'-1+1",
        "'@x",
        "'\t=1",
        "plain",
        "''=1",
        "'a;=1",
        "a;b",
    ]


def test_json_lines_hold_the_texts_as_they_are(tmp_path: Path) -> None:
    assert run_export.write_jsonl(nasty_project(NASTY), tmp_path / "a.jsonl") == len(NASTY)
    lines = (tmp_path / "a.jsonl").read_bytes().decode().split("\n")
    assert [json.loads(line)["text"] for line in lines[:-1]] == NASTY


def test_a_text_that_excel_cannot_hold_is_cut_with_a_mark_and_whole_in_the_csv(tmp_path: Path) -> None:
    project = nasty_project(["y" * 40_000, "😀" * 20_000, "z" * 32_767])
    run_export.write_excel(project, tmp_path / "a.xlsx")
    texts = [row[1] for row in rows_of(tmp_path / "a.xlsx")[1:]]
    for text, length in zip(texts[:2], ("40,000", "20,000"), strict=True):
        assert text.endswith(f"… [cut: the text has {length} characters]")
        assert 32_700 < len(text.encode("utf-16-le")) // 2 <= 32_767
    assert texts[2] == "z" * 32_767
    assert ["texts cut at 32,767 characters", 2] in [
        row[:2] for row in rows_of(tmp_path / "a.xlsx", "How it was made")
    ]
    run_export.write_csv(project, tmp_path / "a.csv")
    assert "y" * 40_000 in (tmp_path / "a.csv").read_text("utf-8-sig")


def test_the_header_is_frozen_filtered_and_likely_wrong_rows_are_coloured(
    project: Project, tmp_path: Path
) -> None:
    Sample.objects.filter(project=project, position__in=[3, 4]).update(flag=Flag.WRONG)
    Sample.objects.filter(project=project, position=4).update(source=Source.PERSON)
    run_export.write_excel(project, tmp_path / "a.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "a.xlsx")["Rows"]
    assert sheet.freeze_panes == "A2"
    assert sheet.auto_filter.ref == "A1:P13"
    assert 8 <= sheet.column_dimensions["B"].width <= 61
    coloured = {row[0].row for row in sheet.iter_rows(min_row=2) if row[0].fill.fgColor.rgb == "FFFBE3E4"}
    assert coloured == {5}
    empty = [cell for cell in sheet[5] if cell.value in (None, "")]
    assert empty
    assert all(cell.value is None for cell in empty), (
        "a count of filled cells must not count coloured empty ones"
    )


def test_more_rows_than_a_sheet_holds_go_on_in_the_next(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_ROWS", 5)
    run_export.write_excel(project, tmp_path / "a.xlsx")
    book = openpyxl.load_workbook(tmp_path / "a.xlsx")
    assert book.sheetnames == ["Rows", "Rows 2", "Rows 3", "Quality", "How it was made"]
    ids = [row[0].value for name in book.sheetnames[:3] for row in book[name].iter_rows(min_row=2)]
    assert ids == [f"r{number}" for number in range(12)]


def test_the_quality_sheet_counts_classes_and_measures_against_the_references(
    project: Project, tmp_path: Path
) -> None:
    positive, negative = project.label_list()
    project.samples.update(llm_label=positive, slm_label=negative, label=positive, source=Source.LLM)
    project.samples.filter(position=1).update(label=negative, source=Source.PERSON)
    run_export.write_excel(project, tmp_path / "a.xlsx")
    lines = rows_of(tmp_path / "a.xlsx", "Quality")
    assert ["positive", 11, 0, 0, 11] in lines
    assert ["negative", 0, 0, 1, 1] in lines
    assert ["LLM label", 12, 6, 0.5, None] in lines
    assert ["SLM label", 12, 6, 0.5, None] in lines
    assert ["final label", 12, 7, 0.583333, None] in lines


def test_the_workbook_tells_how_it_was_made_and_never_the_token(project: Project, tmp_path: Path) -> None:
    configure.set_llm(project, config=LlmConfig(kind="hub", model="some/model"), token="hf_canary_token")
    iteration = start_llm_round(project)
    iteration.demonstrations = [{"key": 1, "shown": "=a warm film", "label": "positive"}]
    iteration.save()
    run_export.write_excel(project, tmp_path / "a.xlsx")
    lines = rows_of(tmp_path / "a.xlsx", "How it was made")
    told = {line[0]: line[1] for line in lines}
    assert (told["project"], told["LLM: model"], told["seed"]) == ("Film notes", "some/model", 0)
    assert ["demonstration 1", "positive", "=a warm film"] in [line[:3] for line in lines]
    assert told["prompt: description"] == project.prompt_description
    with zipfile.ZipFile(tmp_path / "a.xlsx") as package:
        assert all(b"hf_canary" not in package.read(name) for name in package.namelist())


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_asks_the_database_as_often_for_many_rows_as_for_few(
    project: Project, format: str, tmp_path: Path
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            run_export.WRITERS[format](project, tmp_path / f"a.{format}")
        return len(captured)

    few = queries()
    labels = project.label_list()
    Sample.objects.filter(project=project).update(
        label=labels[0], corrected_by=project.owner, corrected_at=timezone.now()
    )
    Sample.objects.bulk_create(
        Sample(project=project, position=place, text="t", fields=["a", "t", "x"], content_hash="")
        for place in range(12, 1_500)
    )
    assert queries() == few
