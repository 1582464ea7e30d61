"""An exported file that is imported again brings the same rows."""

from __future__ import annotations

import json
import re
import time
from importlib.util import find_spec
from pathlib import Path

import openpyxl
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import translation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotation.files.excel import writer
from annotation.files.writers import RESULT_COLUMNS
from annotation.jobs.work import work_on
from annotation.models import Project, Stage
from annotation.pipeline.export import run_export
from annotation.pipeline.ingest import start_import
from annotation.pipeline.ingest.column_roles import ColumnRoles
from annotation.pipeline.ingest.upload import store_upload
from annotation.pipeline.project import configure
from tests.support.exports import NASTY, nasty_project, rows_of, run, uploaded_cells
from tests.support.factories import make_project, make_user, start_llm_round

pytestmark = pytest.mark.django_db

# Parquet too, wherever the locked packages are installed.
FORMATS = [*("xlsx", "csv", "jsonl"), *(["parquet"] if find_spec("pyarrow") else [])]


@pytest.fixture
def project() -> Project:
    return make_project(rows=12)


def import_back(project: Project, path: Path) -> Project:
    """The exported file, imported into a new project."""
    again = configure.create_project(name="Again", task_type="topic", owner=project.owner)
    stored = store_upload(again, SimpleUploadedFile(path.name, path.read_bytes()), project.owner)
    stage = start_import.start_import(again, stored, ColumnRoles(["text"]), user=project.owner)
    with work_on(stage.pk) as job:
        assert job is not None
        start_import.run_import(job)
    stage.refresh_from_db()
    assert stage.status == Stage.Status.DONE, stage.error
    again.refresh_from_db()
    return again


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


def test_a_workbook_in_any_language_comes_back(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
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
    stored = store_upload(project, SimpleUploadedFile("any.jsonl", data.encode()), owner)
    stage = start_import.start_import(project, stored, ColumnRoles(["text"]), user=owner)
    with work_on(stage.pk) as job:
        assert job is not None
        start_import.run_import(job)
    project.refresh_from_db()
    assert uploaded_cells(project, 2) == [list(row) for row in rows]
    path = tmp_path / f"any.{format}"
    run_export.WRITERS[format](project, path)
    assert uploaded_cells(import_back(project, path), 2) == [list(row) for row in rows]
