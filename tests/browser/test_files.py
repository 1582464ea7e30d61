"""A file with a wrong delimiter, from the upload to the workbook, as a person sees it."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import create_file, log_in, take_screenshots
from tests.support.program import Program

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

# Every line has one comma, so the comma looks like the delimiter; the bars are it, but for line 10.
LINES = [
    "id|text, as sent|topic",
    *(f"{number}|Hello, parcel {number} is late|delivery" for number in range(1, 9)),
    "9|Is it, the fee|the tax|billing",
    "10|=1+1, they say|billing",
]

ROWS_STORED = """
SELECT count(*) FROM annotation_sample JOIN annotation_project ON annotation_project.id = project_id
WHERE annotation_project.name = 'Letters'"""


def test_a_wrong_delimiter_is_seen_mended_and_told_of(page: Page, program: Program, tmp_path: Path) -> None:
    path = tmp_path / "letters.csv"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    log_in(page, program)
    make_project(page)
    upload_and_mend(page, path)
    map_and_import(page)
    read_report(page, tmp_path)
    check_workbook(export_workbook(page, tmp_path))
    assert program.query(ROWS_STORED) == [(9,)]


def make_project(page: Page) -> None:
    page.get_by_role("link", name="New project").first.click()
    page.get_by_label("Project name").fill("Letters")
    page.get_by_label("Topic classification").check()
    page.locator("main button.primary").click()
    take_screenshots(page, "files-upload")


def upload_and_mend(page: Page, path: Path) -> None:
    page.locator("input[type=file]").set_input_files(path)
    page.get_by_role("button", name="Upload and preview").click()
    names = page.locator("table.preview thead th")
    expect(names).to_have_text(["id|text", "as sent|topic"])
    take_screenshots(page, "files-wrong-delimiter")
    page.get_by_label("Delimiter").select_option("|")
    page.get_by_role("button", name="Read again").click()
    expect(names).to_have_text(["id", "text, as sent", "topic"])
    expect(page.locator("table.preview tbody tr").first).to_contain_text("Hello, parcel 1 is late")
    expect(page.get_by_text("Line 10 would be rejected")).to_be_visible()
    take_screenshots(page, "files-mended")


def map_and_import(page: Page) -> None:
    content = page.get_by_role("group", name="Content")
    content.get_by_label("text, as sent", exact=True).check()
    content.get_by_label("topic", exact=True).check()
    page.get_by_label("Id (optional)").select_option("id")
    page.get_by_label("Reference label (optional)").select_option("topic")
    page.get_by_role("button", name="Import", exact=True).click()


def read_report(page: Page, tmp_path: Path) -> None:
    report = page.locator("#after-stage")
    expect(report).to_contain_text("10 = 9 imported + 0 duplicates + 1 rejected", timeout=60_000)
    report.get_by_text("Skipped rows and reasons").click()
    expect(report).to_contain_text("Line 10: the row has 4 fields, the header has 3 names")
    take_screenshots(page, "files-report")
    with page.expect_download() as download:
        report.get_by_role("link", name="Download the full list (CSV)").click()
    download.value.save_as(tmp_path / "left-out.csv")
    lines = (tmp_path / "left-out.csv").read_text("utf-8-sig").splitlines()
    assert lines[0] == "line,outcome,reason"
    assert lines[1].startswith("10,rejected,")


def export_workbook(page: Page, tmp_path: Path) -> Path:
    page.goto(page.url.partition("/configure/")[0] + "/export/")
    expect(page.get_by_text("1 of 10 rows of letters.csv were rejected at import")).to_be_visible()
    take_screenshots(page, "files-export")
    path = create_file(page, tmp_path)
    assert path.name.startswith("letters-20")
    return path


def check_workbook(path: Path) -> None:
    book = openpyxl.load_workbook(path)
    assert book.sheetnames == ["Rows", "Quality", "How it was made"]
    header, *rows = [[cell.value for cell in row] for row in book["Rows"].iter_rows()]
    assert header[:3] == ["id", "text, as sent", "topic"]
    assert len(rows) == 9
    assert rows[-1][1] == "=1+1, they say"
    assert book["Rows"].cell(10, 2).data_type == "s"
    told = [[cell.value for cell in row][:2] for row in book["How it was made"].iter_rows()]
    assert ["line 10", "the row has 4 fields, the header has 3 names"] in told
