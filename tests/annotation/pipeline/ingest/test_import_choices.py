"""What a person may choose before an import: how the file is read, which odd rows are kept, which files follow."""

from __future__ import annotations

import io
from typing import Any

import openpyxl
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from annotation.errors import InvalidFileError
from annotation.jobs.work import work_on
from annotation.models import Project, Stage, Upload
from annotation.pipeline.ingest import start_import
from annotation.pipeline.ingest.column_roles import ColumnRoles, ImportChoices
from annotation.pipeline.ingest.import_report import ImportReport, left_out_rows
from annotation.pipeline.ingest.upload import read_preview, store_upload, waiting_uploads
from annotation.pipeline.project import configure
from tests.support.factories import make_user

pytestmark = pytest.mark.django_db

ROLES = ("content_columns", "id_column", "reference_column", "column_kinds")


@pytest.fixture
def project() -> Project:
    return configure.create_project(name="Letters", task_type="sentiment", owner=make_user())


def upload(project: Project, data: bytes, name: str = "letters.csv") -> Upload:
    return store_upload(project, SimpleUploadedFile(name, data), project.owner)


def start(project: Project, stored: Upload, **choices: Any) -> Stage:
    then = choices.pop("then", ())
    roles = ColumnRoles(["text"], **{name: choices.pop(name) for name in ROLES if name in choices})
    return start_import.start_import(
        project, stored, roles, user=project.owner, choices=ImportChoices(**choices), then=then
    )


def run(stage: Stage) -> Stage:
    with work_on(stage.pk) as job:
        assert job is not None
        start_import.run_import(job)
    stage.refresh_from_db()
    return stage


def imported(project: Project, stored: Upload, **choices: Any) -> ImportReport:
    stage = run(start(project, stored, **choices))
    assert stage.status == Stage.Status.DONE, stage.error
    return ImportReport.of(Upload.objects.get(pk=stored.pk))


# --- What columns hold ----------------------------------------------------------------------------------------------


def test_what_columns_hold_is_kept_changed_or_left_alone(project: Project) -> None:
    imported(project, upload(project, b"id,text\n1,a\n"), column_kinds={"text": "category"})
    imported(project, upload(project, b"id,text\n2,b\n"))
    project.refresh_from_db()
    assert project.column_kinds == {"text": "category"}
    imported(project, upload(project, b"id,text\n3,c\n"), column_kinds={})
    project.refresh_from_db()
    assert project.column_kinds == {}


@pytest.mark.parametrize(
    ("kinds", "sentence"),
    [({"id": "text"}, "needs no kind"), ({"text": "poem"}, "Choose one of: number, category, text")],
)
def test_a_kind_that_does_not_fit_gets_a_sentence(
    project: Project, kinds: dict[str, str], sentence: str
) -> None:
    with pytest.raises(InvalidFileError, match=sentence):
        start(project, upload(project, b"id,text\n1,a\n"), column_kinds=kinds)


# --- How a file is read, and what becomes of odd rows --------------------------------------------------------------


def stored_rows(project: Project) -> list[list[str]]:
    return list(project.samples.order_by("position").values_list("fields", flat=True))


def test_the_column_names_may_stand_below_a_title(project: Project) -> None:
    stored = upload(project, b"A title,\n\nid,text\n1,a\n")
    preview = read_preview(stored, header=2)
    assert (preview.columns, preview.rows) == (("id", "text"), [["1", "a"]])
    assert Upload.objects.get(pk=stored.pk).reading["header"] == 2
    assert "Rows above the column names left out: 1" in preview.warnings


def test_a_file_without_column_names_gets_numbered_ones(project: Project) -> None:
    preview = read_preview(upload(project, b"1,a\n2,b\n"), header=0)
    assert (preview.columns, preview.rows) == (("column 1", "column 2"), [["1", "a"], ["2", "b"]])


def test_a_pasted_text_is_one_row_a_line(project: Project) -> None:
    pasted = SimpleUploadedFile("pasted", b'a, b\n"c" and\n\n=d')
    stored = store_upload(project, pasted, project.owner, one_text_a_line=True)
    assert stored.columns == ["text"]
    imported(project, stored)
    assert stored_rows(project) == [["a, b"], ['"c" and'], ["=d"]]


ONE_NAME_TWO_FIELDS = b"text\nDear Sir,1\nDear Madam,2\n"
OPEN_QUOTE = b'id,text\n1,a 5" disk\n2,"ten inches\n3,b\n'


def test_a_file_that_would_be_refused_as_it_is_read_is_taken_as_the_person_says(
    project: Project, client: Client
) -> None:
    with pytest.raises(InvalidFileError):
        upload(project, ONE_NAME_TWO_FIELDS)
    client.force_login(project.owner)
    address = reverse("annotation:upload_file", args=[project.pk])
    client.post(address, {"file": SimpleUploadedFile("letters.csv", ONE_NAME_TWO_FIELDS)})
    assert not project.uploads.exists()
    client.post(
        address, {"file": SimpleUploadedFile("letters.csv", ONE_NAME_TWO_FIELDS), "delimiter": "none"}
    )
    imported(project, project.uploads.get())
    assert stored_rows(project) == [["Dear Sir,1"], ["Dear Madam,2"]]


def test_quotes_that_enclose_nothing_are_characters(project: Project) -> None:
    imported(project, upload(project, OPEN_QUOTE))
    assert stored_rows(project) == [["1", 'a 5" disk'], ["2", '"ten inches'], ["3", "b"]]


def test_a_separator_for_pasted_lines_is_not_dropped_without_a_word(project: Project, client: Client) -> None:
    client.force_login(project.owner)
    address = reverse("annotation:upload_file", args=[project.pk])
    sent = {"text": "id;text\n1;a, b\n", "pasted": "lines", "delimiter": ";"}
    told = client.post(address, sent, follow=True).content.decode()
    assert "Delimiter and quotes belong to a table" in told
    assert not project.uploads.exists()
    assert client.post(address, sent | {"delimiter": "x"}).status_code == 302, "a choice that there is not"
    client.post(address, sent | {"pasted": "table"})
    assert project.uploads.get().columns == ["id", "text"]


def test_bytes_that_do_not_fit_are_replaced_where_that_was_chosen(project: Project) -> None:
    stored = upload(project, b"id,text\n" + "1,\u00e9t\u00e9\n".encode() * 9 + b"2,caf\xe9\n3,x\xff\xfe\n")
    read_preview(stored, encoding="utf-8", replace_bad=True)
    report = imported(project, stored)
    assert report.rejected == 0
    assert stored_rows(project)[-2:] == [["2", "caf\ufffd"], ["3", "x\ufffd\ufffd"]]
    assert report.warnings["bytes that are invalid in the encoding, replaced"] == 3


def merged_sheet() -> bytes:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for row in (
        ["group", "text", "more"],
        ["A", "one", "x"],
        [None, "two", "y"],
        [None, "three", None],
        ["B", "four", "z"],
    ):
        sheet.append(row)
    sheet.merge_cells("A2:A4")
    sheet.merge_cells("B4:C4")
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def test_merged_cells_are_filled_where_that_was_chosen(project: Project) -> None:
    stored = upload(project, merged_sheet(), "a.xlsx")
    assert [row[0] for row in read_preview(stored).rows] == ["A", "", "", "B"]
    assert read_preview(stored).warnings == ["Merged areas, of which only the first cell has the value: 2"]
    preview = read_preview(stored, fill_merged=True)
    assert preview.warnings == []
    assert preview.rows == [["A", "one", "x"], ["A", "two", "y"], ["A", "three", "three"], ["B", "four", "z"]]


def test_empty_texts_and_known_ones_are_kept_where_that_was_chosen(project: Project) -> None:
    imported(project, upload(project, b"id,text\n1,a\n"))
    report = imported(
        project, upload(project, b"id,text\n1,a\n2,\n", "more.csv"), keep_duplicates=True, keep_empty=True
    )
    assert (report.imported, report.duplicates, report.rejected) == (2, 0, 0)
    assert stored_rows(project) == [["1", "a"], ["1", "a"], ["2", ""]]


def test_all_rows_that_were_left_out_can_be_listed(project: Project) -> None:
    stored = upload(project, b"id,text\n" + b"x,\n" * 2_500 + b"1,a\n")
    report = imported(project, stored)
    assert len(report.rows) == 1_000
    assert [line for line, _outcome, _why in left_out_rows(stored)] == list(range(2, 2_502))


# --- Several files ------------------------------------------------------------------------------------------------


def test_files_with_the_same_columns_are_imported_one_after_the_other(project: Project) -> None:
    first, second, third = (
        upload(project, f"id,text\n{name},{name}\n".encode(), f"{name}.csv") for name in "abc"
    )
    start(project, first, then=[second, third])
    assert waiting_uploads(project) == []
    for _file in range(3):
        run(project.stages.active().get())
    assert [row[1] for row in stored_rows(project)] == ["a", "b", "c"]
    assert not project.stages.active().exists()


def test_a_file_behind_one_that_failed_waits_for_a_person(project: Project) -> None:
    first = upload(project, b"id,text\n1,\n", "a.csv")
    second = upload(project, b"id,text\n1,b\n", "b.csv")
    assert run(start(project, first, then=[second])).status == Stage.Status.FAILED
    assert not project.stages.active().exists()
    assert waiting_uploads(project) == [second]


def test_files_with_other_columns_are_not_imported_in_the_same_way(project: Project) -> None:
    first, other = upload(project, b"id,text\n1,a\n"), upload(project, b"text\na\nb\n", "other.csv")
    with pytest.raises(InvalidFileError, match=r"“other\.csv” has other columns"):
        start(project, first, then=[other])


def test_a_title_page_before_the_table_is_passed_over(project: Project) -> None:
    book = openpyxl.Workbook()
    book.worksheets[0].append(["ignore me"])
    table = book.create_sheet("数据")
    for row in (["text", "label"], ["good", "a"], ["bad", "b"]):
        table.append(row)
    file = io.BytesIO()
    book.save(file)
    stored = upload(project, file.getvalue(), "notes.xlsx")
    assert stored.columns == ["text", "label"]
    assert stored.reading["sheet"] == "数据"


# --- A title above the table ---------------------------------------------------------------------------------------


def titled_book() -> bytes:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet["A1"] = "Survey of 2024, all answers"
    sheet.merge_cells("A1:C1")
    for row in (
        ["made on", "2024-05-01"],
        [],
        ["id", "text", "score"],
        [1, "good", 0.5],
        [2, "bad", 1],
        ["Total", None, 1.5],
    ):
        sheet.append(row)
    plain = book.create_sheet("plain")
    for row in (["id", "text"], [3, "fine"]):
        plain.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def test_a_title_above_the_table_is_found_told_of_and_changeable(project: Project) -> None:
    stored = upload(project, titled_book(), "survey.xlsx")
    assert stored.columns == ["id", "text", "score"]
    assert stored.reading["header"] == 3
    assert "Rows above the column names left out: 2" in read_preview(stored).warnings

    read_preview(stored, sheet="plain")
    assert (stored.columns, stored.reading["header"]) == (["id", "text"], 1)
    read_preview(stored, sheet="Sheet", header=4)
    assert stored.columns == ["1", "good", "0.5"]


def test_a_remark_above_a_csv_is_passed_over(project: Project) -> None:
    stored = upload(project, b"# made by a tool\nid,text\n1,a\n2,b\n")
    assert stored.columns == ["id", "text"]
    imported(project, stored)
    assert stored_rows(project) == [["1", "a"], ["2", "b"]]


def test_a_header_that_lacks_a_name_is_no_title(project: Project) -> None:
    with pytest.raises(InvalidFileError, match="The header has 1 name, but the rows have 2 fields"):
        upload(project, b"text\n1,a\n2,b\n")
    with pytest.raises(InvalidFileError, match="The header has 2 names, but the rows have 3 fields"):
        upload(project, b"id,text\nx,a,good\ny,b,bad\n")
