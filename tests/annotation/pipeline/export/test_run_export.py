from __future__ import annotations

import csv
import json
import os
import re
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotation.errors import AnnotationError, NotReadyError
from annotation.files.excel import writer
from annotation.files.writers import RESULT_COLUMNS
from annotation.jobs import state
from annotation.jobs.progress import Progress
from annotation.jobs.work import work_on
from annotation.models import Correction, Flag, Label, Project, Sample, Source, Stage
from annotation.pipeline.export import rows as export_rows
from annotation.pipeline.export import run_export
from annotation.pipeline.ingest import start_import
from annotation.pipeline.project import configure
from annotation.pipeline.review import corrections
from mlcore.config import LlmConfig
from tests.support.factories import make_project, make_user, start_llm_round

pytestmark = pytest.mark.django_db

# Parquet too, wherever the locked packages are installed.
FORMATS = [*("xlsx", "csv", "jsonl"), *(["parquet"] if find_spec("pyarrow") else [])]

NASTY = [
    "=1+1", "=cmd|'/C calc'!A0", "+1", "-1", "-1.5e3", "+cmd", "-cmd", "@SUM(1)", "\t=1", "\r=1", "'=1", "''=1", "'plain", "'-1",
    "http://example.com/x", "mailto:a@b.c", "0012", "1e5", "TRUE", "#N/A", "<r>bold</r>", "<r><t>x</t></r>&amp;", "_x000D_", "a\x0bb\x1bc",
    "line\nbreak", "carriage\r\nreturn", " leading and trailing ", "quote \" and 'single'",
    "semi;colon, comma\ttab", "你好，世界 😀", "\u202eabc",
    "＝1+1", "a\u2028b\u0085c", "\ufffe", "x" * 32_767,
]  # fmt: skip


@pytest.fixture
def project() -> Project:
    return make_project(rows=12)


def nasty_project(texts: list[str]) -> Project:
    project = configure.create_project(name="Nasty =1+1", task_type="topic", owner=make_user())
    project.columns, project.content_columns = ["=id", "text"], ["text"]
    project.save()
    Sample.objects.bulk_create(
        Sample(
            project=project, position=place, text=text, fields=[f"-r{place}", text], content_hash=str(place)
        )
        for place, text in enumerate(texts)
    )
    return project


def rows_of(path: Path, sheet: str = "Rows") -> list[list[Any]]:
    book = openpyxl.load_workbook(path)
    return [[cell.value for cell in row] for row in book[sheet].iter_rows()]


def import_back(project: Project, path: Path) -> Project:
    """The exported file, imported into a new project."""
    again = configure.create_project(name="Again", task_type="topic", owner=project.owner)
    stored = start_import.store_upload(again, SimpleUploadedFile(path.name, path.read_bytes()), project.owner)
    stage = start_import.start_import(again, stored, content_columns=["text"], user=project.owner)
    with work_on(stage.pk) as job:
        assert job is not None
        start_import.run_import(job)
    stage.refresh_from_db()
    assert stage.status == Stage.Status.DONE, stage.error
    again.refresh_from_db()
    return again


def uploaded_cells(project: Project, columns: int) -> list[list[str]]:
    return [
        fields[:columns] for fields in project.samples.order_by("position").values_list("fields", flat=True)
    ]


def run(stage: Stage) -> Stage:
    with work_on(stage.pk) as job:
        assert job is not None
        run_export.run_export(job)
    stage.refresh_from_db()
    return stage


# --- What stands in the file --------------------------------------------------------------------------------------


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
        nasty_project(["=1+1", "-1.5", "+7", "-1+1", "@x", "\t=1", "plain", "'=1"]), tmp_path / "a.csv"
    )
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[0] == "'=id"
    assert [row[1] for row in rows] == ["'=1+1", "-1.5", "+7", "'-1+1", "'@x", "'\t=1", "plain", "''=1"]


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
    assert sheet.auto_filter.ref == "A1:N13"
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


# --- Which rows ---------------------------------------------------------------------------------------------------


def ids_of(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def judged(project: Project) -> Project:
    positive, _negative = project.label_list()
    rows = project.samples.all()
    rows.filter(position__lt=6).update(label=positive, risk=0.02, flag=Flag.RIGHT, source=Source.SLM)
    rows.filter(position__in=[6, 7]).update(label=positive, risk=0.4, flag=Flag.WRONG, source=Source.LLM)
    rows.filter(position=8).update(label=positive, risk=0.0, source=Source.PERSON)
    return project


@pytest.mark.parametrize(
    ("chosen", "expected", "name"),
    [
        ({}, range(12), "film-notes-2"),
        ({"query": "show=wrong"}, [6, 7], "film-notes-filtered-2"),
        ({"certainty": 0.95}, [0, 1, 2, 3, 4, 5, 8], "film-notes-from-95-percent-2"),
        (
            {"query": "source=slm&sort=risk", "certainty": 0.98},
            range(6),
            "film-notes-filtered-from-98-percent-2",
        ),
    ],
)
def test_only_the_chosen_rows_are_exported_and_the_files_name_says_so(
    judged: Project, chosen: dict[str, Any], expected: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_rows, "READ_ROWS", 2)
    stage = run(run_export.start_export(judged, user=judged.owner, format="jsonl", **chosen))
    assert stage.status == Stage.Status.DONE, stage.error
    assert ids_of(run_export.export_path(stage)) == [f"r{number}" for number in expected]
    assert stage.total == stage.done == len(expected)
    assert stage.detail["file"].startswith(name)


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"query": "show=inconsistent"}, "No row is like that"),
        ({"query": "label=999"}, "no longer fits the project"),
        ({"certainty": 1.5}, "between 0 and 100 %"),
    ],
)
def test_a_choice_without_rows_is_refused(judged: Project, chosen: dict[str, Any], sentence: str) -> None:
    with pytest.raises(AnnotationError, match=sentence):
        run_export.start_export(judged, user=judged.owner, format="csv", **chosen)


def test_other_rows_make_another_export(judged: Project) -> None:
    first = run_export.start_export(judged, user=judged.owner, format="csv")
    other = run_export.start_export(judged, user=judged.owner, format="csv", query="show=wrong")
    assert other.pk != first.pk
    assert (
        run_export.start_export(judged, user=judged.owner, format="csv", query="?show=wrong").pk == other.pk
    )


def test_a_workbook_of_some_rows_says_which(judged: Project, tmp_path: Path) -> None:
    selection = export_rows.Selection.of(judged, query="show=right", certainty=0.9)
    assert run_export.write_excel(judged, tmp_path / "a.xlsx", selection=selection) == 6
    told = {line[0]: line[1] for line in rows_of(tmp_path / "a.xlsx", "How it was made")}
    assert told["rows in this file"] == "6 of the project's 12"
    assert told["only rows of the filter"] == "show=right"
    assert told["only labels that are right with a probability of at least"] == "90.00%"
    assert "all rows of the project" in told["the sheet Quality"]


def test_a_workbook_names_the_rows_that_were_rejected_at_import(project: Project, tmp_path: Path) -> None:
    upload = project.uploads.create(
        name="notes.csv", stored_name="s", size=1, sha256="0",
        report={"finished": True, "read": 14, "imported": 12, "duplicates": 0, "rejected": 2},
    )  # fmt: skip
    upload.left_out.create(line=3, outcome="rejected", reason="the text is empty")
    upload.left_out.create(line=9, outcome="duplicate", reason="is there")
    upload.left_out.create(line=11, outcome="rejected", reason="the row has 3 fields, the header has 2 names")
    run_export.write_excel(project, tmp_path / "a.xlsx")
    lines = [line[:2] for line in rows_of(tmp_path / "a.xlsx", "How it was made")]
    assert ["notes.csv", "14 rows read = 12 imported + 0 duplicates + 2 rejected"] in lines
    at = lines.index(["Rejected at import: 2 of 14 rows of notes.csv", None])
    assert lines[at + 1 : at + 4] == [
        ["line 3", "the text is empty"],
        ["line 11", "the row has 3 fields, the header has 2 names"],
        [None, None],
    ]


def test_a_row_without_a_label_has_no_round(project: Project, tmp_path: Path) -> None:
    project.samples.filter(position__gt=0).update(label=project.label_list()[0], round=2)
    run_export.write_jsonl(project, tmp_path / "a.jsonl")
    rounds = [json.loads(line)["round"] for line in (tmp_path / "a.jsonl").read_text("utf-8").splitlines()]
    assert rounds == [None] + [2] * 11


# --- There and back -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_importing_an_export_gives_back_the_same_rows(format: str, tmp_path: Path) -> None:
    project = nasty_project(NASTY)
    path = tmp_path / f"a.{format}"
    run_export.WRITERS[format](project, path)
    again = import_back(project, path)
    assert again.columns == ["=id", "text", *RESULT_COLUMNS]
    assert uploaded_cells(again, 2) == uploaded_cells(project, 2)


def test_a_workbook_of_several_sheets_comes_back_whole(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_ROWS", 5)
    run_export.write_excel(project, tmp_path / "a.xlsx")
    again = import_back(project, tmp_path / "a.xlsx")
    assert uploaded_cells(again, 3) == uploaded_cells(project, 3)
    assert again.uploads.get().report["warnings"]["further sheets of the export read on"] == 2


def test_a_workbook_explains_itself_in_the_language_of_whoever_asked_for_it_and_comes_back_in_any(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_ROWS", 5)
    start_llm_round(project)
    with translation.override("zh-hans"):
        asked = run_export.start_export(project, user=project.owner, format="xlsx")
    path = run_export.export_path(run(asked))  # a worker's own language is English
    book = openpyxl.load_workbook(path)
    assert book.sheetnames == ["Rows", "Rows 2", "Rows 3", "质量", "制作说明"]
    assert tuple(rows_of(path)[0][3:]) == RESULT_COLUMNS
    for name in book.sheetnames[3:]:
        told = [str(line[0]) for line in rows_of(path, name) if line[0]]
        # Settings keep their names, which a colon leads in.
        assert [text for text in told if re.search("[a-z]{3,} [a-z]{3,}", text)] == []
    assert ["项目", "Film notes"] in [line[:2] for line in rows_of(path, "制作说明")]
    again = import_back(project, path)
    assert uploaded_cells(again, 3) == uploaded_cells(project, 3)


def test_the_same_rows_in_another_language_are_another_file(project: Project) -> None:
    english = run_export.start_export(project, user=project.owner, format="xlsx")
    with translation.override("zh-hans"):
        assert run_export.start_export(project, user=project.owner, format="xlsx").pk != english.pk


def test_a_workbook_of_someone_else_is_read_as_the_one_sheet_that_was_chosen(tmp_path: Path) -> None:
    project = make_project(rows=0)
    book = openpyxl.Workbook()
    for name in ("Rows", "Rows 2"):
        sheet = book.create_sheet(name)
        sheet.append(["id", "text"])
        sheet.append([name, f"a text of {name}"])
    book.save(tmp_path / "a.xlsx")
    assert uploaded_cells(import_back(project, tmp_path / "a.xlsx"), 2) == [["Rows", "a text of Rows"]]


@pytest.mark.parametrize("format", FORMATS)
def test_a_text_that_excel_cannot_hold_comes_back_whole_or_is_told_of(format: str, tmp_path: Path) -> None:
    project = nasty_project(["y" * 40_000, "short"])
    path = tmp_path / f"a.{format}"
    run_export.WRITERS[format](project, path)
    again = import_back(project, path)
    told = again.uploads.get().report["warnings"]
    if format == "xlsx":
        assert told["texts that Excel could not hold, cut when they were exported"] == 1
    else:
        assert uploaded_cells(again, 2) == uploaded_cells(project, 2)
        assert not any("cut" in what for what in told)


# What a table may hold: every character but NUL and halves of surrogate pairs, which are replaced or rejected on import.
CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
TEXT = st.one_of(
    CELL.map(lambda text: f"x{text}"),
    st.sampled_from("=+-@'\t\r\n").flatmap(lambda first: CELL.map(lambda rest: f"{first}x{rest}")),
)


@given(
    rows=st.lists(st.tuples(CELL, TEXT), min_size=1, max_size=6),
    format=st.sampled_from(FORMATS),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_table_survives_import_export_and_import(
    rows: list[tuple[str, str]], format: str, tmp_path: Path
) -> None:
    Project.objects.all().delete()
    owner = make_user(f"u{time.monotonic_ns()}")
    project = configure.create_project(name="Any", task_type="topic", owner=owner)
    data = "".join(
        json.dumps({"first": first, "text": text}, ensure_ascii=False) + "\n" for first, text in rows
    )
    stored = start_import.store_upload(project, SimpleUploadedFile("any.jsonl", data.encode()), owner)
    stage = start_import.start_import(project, stored, content_columns=["text"], user=owner)
    with work_on(stage.pk) as job:
        assert job is not None
        start_import.run_import(job)
    project.refresh_from_db()
    assert uploaded_cells(project, 2) == [list(row) for row in rows]
    path = tmp_path / f"any.{format}"
    run_export.WRITERS[format](project, path)
    assert uploaded_cells(import_back(project, path), 2) == [list(row) for row in rows]


# --- As a job -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_a_finished_export_lies_whole_under_its_own_name(project: Project, format: Any) -> None:
    stage = run(run_export.start_export(project, user=project.owner, format=format))
    assert (stage.status, stage.done, stage.total) == (Stage.Status.DONE, 12, 12)
    path = run_export.export_path(stage)
    assert path.stat().st_size == stage.detail["size"]
    assert stage.detail["file"].startswith("film-notes-")
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_double_click_makes_one_export(project: Project) -> None:
    first = run_export.start_export(project, user=project.owner, format="csv")
    assert run_export.start_export(project, user=project.owner, format="csv").pk == first.pk
    assert run_export.start_export(project, user=project.owner, format="xlsx").pk != first.pk


def test_an_export_that_is_not_finished_is_not_offered(project: Project) -> None:
    stage = run_export.start_export(project, user=project.owner, format="csv")
    with pytest.raises(NotReadyError, match="not finished"):
        run_export.export_path(stage)


def test_what_cannot_be_exported_is_refused(project: Project) -> None:
    with pytest.raises(AnnotationError, match="no export format “pdf”"):
        run_export.start_export(project, user=project.owner, format="pdf")  # type: ignore[arg-type]
    project.samples.all().delete()
    with pytest.raises(NotReadyError, match="no rows to export"):
        run_export.start_export(project, user=project.owner, format="csv")


@pytest.mark.parametrize("format", ["xlsx", "csv"])
def test_a_cancelled_export_leaves_no_file(
    project: Project, format: Any, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    stage = run_export.start_export(project, user=project.owner, format=format)
    monkeypatch.setattr(export_rows, "TELL_ROWS", 5)
    original = Progress.report

    def report(progress: Progress, **told: Any) -> None:
        original(progress, **told)
        if told.get("done") == 5:
            state.request_cancel(stage)
            progress._lease._next_poll = 0.0

    monkeypatch.setattr(Progress, "report", report)
    assert run(stage).status == Stage.Status.CANCELLED
    assert list(settings.EXPORT_DIR.iterdir()) == []


def leave_part(settings: Any, stage: Stage, *, attempt: int) -> Path:
    """The working folder of an attempt that was killed."""
    left: Path = settings.EXPORT_DIR / f"{stage.run_id}.{attempt}.part"
    left.mkdir(parents=True)
    (left / "sheet1.tmp").write_bytes(b"half")
    return left


def test_an_export_whose_worker_was_killed_is_begun_anew_and_its_part_removed(
    project: Project, settings: Any
) -> None:
    stage = run_export.start_export(project, user=project.owner, format="csv")
    leave_part(settings, stage, attempt=7)
    path = run_export.export_path(run(stage))
    assert [each.name for each in settings.EXPORT_DIR.iterdir()] == [path.name]


def test_a_worker_that_lost_its_lease_offers_no_file(
    project: Project, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = run_export.start_export(project, user=project.owner, format="csv")
    write = run_export.write_csv

    def write_and_lose(*arguments: Any, **more: Any) -> int:
        Stage.objects.filter(pk=stage.pk).update(attempt=99)
        return write(*arguments, **more)

    monkeypatch.setitem(run_export.WRITERS, "csv", write_and_lose)
    run(stage)
    assert list(settings.EXPORT_DIR.iterdir()) == []


def test_what_a_killed_attempt_left_is_removed_once_nobody_goes_on_with_it(
    project: Project, settings: Any
) -> None:
    stage = run_export.start_export(project, user=project.owner, format="csv")
    left = leave_part(settings, stage, attempt=1)
    assert run_export.remove_old_exports() == 0
    assert left.exists()
    state.request_cancel(stage)
    assert run_export.remove_old_exports() == 1
    assert not left.exists()


def test_old_exports_are_removed_and_the_link_says_so(project: Project, settings: Any) -> None:
    old, new = (
        run(run_export.start_export(project, user=project.owner, format=name)) for name in ("csv", "jsonl")
    )
    long_ago = time.time() - settings.EXPORT_DAYS * 86_400 - 1
    os.utime(run_export.export_path(old), (long_ago, long_ago))
    assert run_export.remove_old_exports() == 1
    assert run_export.export_path(new).exists()
    with pytest.raises(NotReadyError, match="kept for 7 days"):
        run_export.export_path(old)


def test_the_command_writes_the_file_that_its_name_asks_for(project: Project, tmp_path: Path) -> None:
    call_command("export", project.pk, str(tmp_path / "out.xlsx"))
    assert len(rows_of(tmp_path / "out.xlsx")) == 13
    with pytest.raises(CommandError, match="must end in one of"):
        call_command("export", project.pk, str(tmp_path / "out.pdf"))
    with pytest.raises(CommandError, match="can't be written"):
        call_command("export", project.pk, str(tmp_path / "no" / "folder" / "out.csv"))
    assert [path.name for path in tmp_path.iterdir()] == ["out.xlsx"]


def test_the_command_writes_only_the_rows_that_are_asked_for(judged: Project, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    call_command("export", judged.pk, str(path), filter="show=right", certainty=90.0)
    assert ids_of(path) == [f"r{number}" for number in range(6)]
    with pytest.raises(CommandError, match="No row is like that"):
        call_command("export", judged.pk, str(path), filter="show=inconsistent")


def test_a_correction_that_was_withdrawn_is_exported_as_the_machines_label(
    project: Project, tmp_path: Path
) -> None:
    label = Label.objects.filter(project=project).first()
    assert label is not None
    sample = project.samples.get(position=0)
    corrections.correct_sample(sample.pk, label_id=label.pk, user=project.owner, seen_version=0)
    corrections.correct_sample(sample.pk, label_id=None, user=project.owner, seen_version=1)
    run_export.write_jsonl(project, tmp_path / "a.jsonl")
    row = json.loads((tmp_path / "a.jsonl").read_text("utf-8").splitlines()[0])
    assert (row["final_label"], row["source"], row["corrected_by"]) == ("", "", "")
    assert Correction.objects.count() == 2
