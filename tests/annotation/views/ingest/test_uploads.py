"""The page on which files are chosen, looked at and imported."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from openpyxl import Workbook

from annotation.jobs import kinds
from annotation.models import Project, Stage, Upload
from tests.support.configuring import make_empty, ticked, upload
from tests.support.factories import make_user
from tests.support.pages import one_line

pytestmark = pytest.mark.django_db


CSV = "id,text,label\n1,a fine film,good\n2,a poor film,bad\n3,fine again,good\n"


@pytest.fixture
def owner() -> Client:
    client = Client()
    client.force_login(make_user())
    return client


# --- Data -------------------------------------------------------------------------------------------------------------


def test_an_uploaded_file_is_shown_before_anything_is_imported(owner: Client) -> None:
    project = make_empty(owner)
    html = upload(owner, project, CSV).content.decode()
    assert "What do the columns mean?" in html
    assert "a poor film" in html
    assert 'value="text" id="id_content_columns_1" checked' in html.replace("  ", " ")
    assert not Stage.objects.exists()


def test_an_excel_file_is_read_too(owner: Client) -> None:
    book, file = Workbook(), io.BytesIO()
    assert book.active is not None
    for row in (["text"], ["a fine film"], ["a poor film"]):
        book.active.append(row)
    book.save(file)
    assert "a poor film" in upload(owner, make_empty(owner), file.getvalue(), "notes.xlsx").content.decode()


def test_a_wrong_reading_can_be_changed(owner: Client) -> None:
    project = make_empty(owner)
    upload(owner, project, "text\n价格很好很满意\n太贵了再见\n".encode("gb18030"))
    stored = Upload.objects.get()
    url = f"/projects/{project.pk}/configure/data/{stored.pk}/"
    for chosen in ("cp1252", "gb18030"):
        data = {"read": "1", "encoding": chosen, "delimiter": stored.reading["delimiter"]}
        assert owner.post(url, data)["Location"] == url
        stored.refresh_from_db()
        assert stored.reading["encoding"] == chosen
    assert "价格很好" in owner.get(url).content.decode()
    owner.post(url, {"read": "1", "encoding": "klingon", "delimiter": ","})
    stored.refresh_from_db()
    assert stored.reading["encoding"] == "gb18030"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("", "empty.csv"),
        ("text\n", "header.csv"),
        (b"\x7fELF\x02\x01\x01\x00" * 40, "program.csv"),
        (b"PK\x03\x04broken", "broken.xlsx"),
    ],
)
def test_a_file_that_cant_be_read_gets_a_sentence(owner: Client, content: bytes | str, name: str) -> None:
    answer = upload(owner, make_empty(owner), content, name)
    assert answer.status_code == 200
    assert 'class="note error"' in answer.content.decode()
    assert not Upload.objects.exists()


def test_no_file_at_all_gets_a_sentence(owner: Client) -> None:
    project = make_empty(owner)
    answer = owner.post(f"/projects/{project.pk}/configure/data/upload/", {}, follow=True)
    assert "Choose a file, or paste a text" in answer.content.decode()


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        ({}, "Choose at least one column"),
        ({"content_columns": ["nope"]}, "nope is not one of the available choices"),
        ({"content_columns": ["text"], "reference_column": "text"}, "the models would see the answer"),
        (
            {"content_columns": ["text"], "reference_column": "label", "id_column": "label"},
            "be both the id and the reference label",
        ),
    ],
)
def test_a_wrong_mapping_gets_a_sentence(owner: Client, mapping: dict[str, Any], sentence: str) -> None:
    project = make_empty(owner)
    upload(owner, project, CSV)
    answer = owner.post(f"/projects/{project.pk}/configure/data/{Upload.objects.get().pk}/", mapping)
    assert answer.status_code == 400
    assert sentence in answer.content.decode()
    assert not Stage.objects.exists()


def test_a_good_mapping_starts_the_import_once(owner: Client) -> None:
    project = make_empty(owner)
    upload(owner, project, CSV)
    url = f"/projects/{project.pk}/configure/data/{Upload.objects.get().pk}/"
    mapping = {"content_columns": ["text"], "id_column": "id", "reference_column": "label"}
    assert owner.post(url, mapping)["Location"] == f"/projects/{project.pk}/configure/data/"
    assert "is running" in owner.post(url, mapping).content.decode()
    assert Stage.objects.get().kind == kinds.IMPORT.key
    project.refresh_from_db()
    assert project.reference_column == "label"
    assert (
        f'data-stage="{Stage.objects.get().pk}"'
        in owner.get(f"/projects/{project.pk}/configure/data/").content.decode()
    )


TABLE = "name,age,zip,outcome\n" + "".join(
    f"{name} the {number}th of her name,{number},0{number},{number % 2}\n"
    for number, name in enumerate(["Ada", "Bea", "Cleo"], start=20)
)


def test_what_the_columns_of_a_table_hold_is_guessed_shown_and_changeable(owner: Client) -> None:
    project = make_empty(owner)
    Project.objects.update(task_type="tabular")
    html = one_line(upload(owner, project, TABLE).content.decode())
    guesses = re.findall(r'<option value="" selected>(.*?)</option>', html)
    assert guesses[:4] == ["text (guessed)", "number (guessed)", "category (guessed)", "number (guessed)"]
    assert "020 · 021 · 022" in html
    url = f"/projects/{project.pk}/configure/data/{Upload.objects.get().pk}/"
    mapping = {"content_columns": ["name", "age"], "reference_column": "outcome", "kind_2": "text"}
    assert owner.post(url, mapping | {"kind_1": "poem"}).status_code == 400
    assert owner.post(url, mapping | {"kind_1": "category"}).status_code == 302
    project.refresh_from_db()
    assert project.column_kinds == {"age": "category"}, "what the models do not see needs no kind"


def test_the_columns_of_a_text_have_no_kinds(owner: Client) -> None:
    project = make_empty(owner)
    assert "(guessed)" not in upload(owner, project, CSV).content.decode()


# --- Start ------------------------------------------------------------------------------------------------------------


def test_a_pasted_text_is_looked_at_before_it_is_imported(owner: Client) -> None:
    project = make_empty(owner)
    page = f"/projects/{project.pk}/configure/data/upload/"
    answer = owner.post(page, {"text": "one\r\ntwo, and more", "pasted": "lines"}, follow=True)
    assert "two, and more" in answer.content.decode()
    assert project.uploads.get().columns == ["text"]


def test_several_files_are_shown_as_one_import(owner: Client) -> None:
    project = make_empty(owner)
    files = [
        SimpleUploadedFile("a.csv", b"id,text\n1,a\n"),
        SimpleUploadedFile("b.csv", b"text,id\nb,2\n"),
        SimpleUploadedFile("c.csv", b"text\nx\ny\n"),
    ]
    answer = owner.post(f"/projects/{project.pk}/configure/data/upload/", {"file": files}, follow=True)
    html = answer.content.decode()
    assert "c.csv has different columns" in html
    second = project.uploads.get(name="b.csv")
    assert f'name="then" value="{second.pk}"' in html
    assert ticked(html) == [second.pk]
    address = answer.redirect_chain[-1][0]
    owner.post(address, {"content_columns": "text", "then": second.pk, "on_bad_row": "reject"})
    stage = project.stages.get()
    assert stage.detail["then"] == [second.pk]
    assert stage.detail["on_bad_row"] == "reject"


def test_what_quotes_are_is_shown_and_can_be_changed(owner: Client) -> None:
    project = make_empty(owner)
    answer = upload(owner, project, 'id,text\n1,"a"\n')
    address = answer.redirect_chain[-1][0]
    assert '<option value="&quot;" selected>around cells</option>' in answer.content.decode()
    chosen = {"read": "1", "encoding": "utf-8", "delimiter": ",", "quote": "none"}
    html = owner.post(address, chosen, follow=True).content.decode()
    assert '<option value="none" selected>plain characters</option>' in html
    assert project.uploads.get().preview == [["1", '"a"']]


def test_a_file_that_can_not_be_read_is_named_and_the_others_are_taken(owner: Client) -> None:
    project = make_empty(owner)
    files = [
        SimpleUploadedFile("empty.csv", b""),
        SimpleUploadedFile("good.csv", b"id,text\n1,a\n"),
        SimpleUploadedFile("scan.csv", b"%PDF-1.7\n"),
    ]
    answer = owner.post(f"/projects/{project.pk}/configure/data/upload/", {"file": files}, follow=True)
    html = answer.content.decode()
    assert "“empty.csv” was rejected: The file is empty." in html
    assert "“scan.csv” was rejected: The file is a PDF" in html
    assert [upload.name for upload in project.uploads.all()] == ["good.csv"]
    assert "What do the columns mean?" in html


def test_a_file_that_waited_before_is_offered_and_not_imported_unasked(owner: Client) -> None:
    project = make_empty(owner)
    page = f"/projects/{project.pk}/configure/data/upload/"
    owner.post(page, {"file": SimpleUploadedFile("wrong.csv", b"id,text\n1,a\n")})
    answer = owner.post(page, {"file": SimpleUploadedFile("right.csv", b"id,text\n1,b\n")}, follow=True)
    html = answer.content.decode()
    assert f'name="then" value="{project.uploads.get(name="wrong.csv").pk}"' in html
    assert ticked(html) == []


def test_every_imported_file_is_told_of_and_not_the_last_one_only(owner: Client) -> None:
    project = make_empty(owner)
    counts = {"finished": True, "imported": 1, "duplicates": 0, "read": 2, "rejected": 1}
    first = project.uploads.create(name="a.csv", stored_name="a", size=1, sha256="0", report=counts)
    second = project.uploads.create(name="b.csv", stored_name="b", size=1, sha256="1", report=counts)
    project.stages.create(kind="import", status="done", detail={"upload": second.pk, "file": "b.csv"})
    html = owner.get(f"/projects/{project.pk}/configure/data/").content.decode()
    before = html[html.index("Previous imports") :]
    assert "a.csv" in before
    assert "2 rows read = 1 imported + 0 duplicates + 1 rejected" in before
    assert f"/{first.pk}/left-out.csv" in before
    assert "b.csv" not in before


def test_a_file_that_waits_can_be_removed(owner: Client, django_capture_on_commit_callbacks: Any) -> None:
    project = make_empty(owner)
    page = f"/projects/{project.pk}/configure/data/"
    owner.post(f"{page}upload/", {"file": SimpleUploadedFile("a.csv", b"id,text\n1,a\n")})
    stored = project.uploads.get()
    assert "Uploaded, not imported yet" in owner.get(page).content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        owner.post(f"{page}{stored.pk}/remove/")
    assert not project.uploads.exists()
    assert not stored.path.exists()
