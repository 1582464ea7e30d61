from __future__ import annotations

import csv
import re
from itertools import islice
from pathlib import Path

import openpyxl
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import create_file, log_in, take_screenshots
from tests.support.program import Program

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1_500)]

SAMPLE = Path(__file__).resolve().parents[2] / "annotation" / "samples" / "customer_messages.csv"
ROWS = 160  # the embedded LLM takes a second and a half of processor time for each
STAGE_MS = 600_000


def test_a_person_goes_all_the_way_from_a_file_to_an_excel_file(
    page: Page, program: Program, tmp_path: Path
) -> None:
    log_in(page, program)
    take_screenshots(page, "projects-empty")
    configure(page, sample_file(tmp_path))
    watch_labeling(page)
    watch_filtering(page)
    corrected = correct_a_row(page)
    refine_from_filtering(page)
    check_correction_survived(page, corrected)
    workbook = download_excel(page, tmp_path)
    check_workbook(workbook, corrected)
    assert program.query("SELECT count(*) FROM annotation_sample WHERE source = 'person'") == [(1,)]


def sample_file(folder: Path) -> Path:
    """The first rows of the sample."""
    path = folder / "customer_messages.csv"
    with (
        SAMPLE.open(newline="", encoding="utf-8") as file,
        path.open("w", newline="", encoding="utf-8") as part,
    ):
        csv.writer(part).writerows(islice(csv.reader(file), ROWS + 1))
    return path


def configure(page: Page, file: Path) -> None:
    page.get_by_role("link", name="New project").first.click()
    page.get_by_label("Project name").fill("Customer messages")
    page.get_by_label("Topic classification").check()
    page.locator("main button.primary").click()

    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Upload and preview").click()
    expect(page.get_by_role("heading", name="What do the columns mean?")).to_be_visible()
    expect(page.locator("table.preview tbody tr").first).to_contain_text("CM-0001")
    content = page.get_by_role("group", name="Content")
    for name in ("id", "channel", "topic"):
        content.get_by_label(name, exact=True).uncheck()
    content.get_by_label("text", exact=True).check()
    page.get_by_label("Id (optional)").select_option("id")
    page.get_by_label("Reference label (optional)").select_option("topic")
    take_screenshots(page, "configure-columns")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_role("heading", name="Labels")).to_be_visible(
        timeout=30_000
    )  # a clean import leads on
    names = page.locator(".label-line input[name$='-name']")
    assert {field.input_value() for field in names.all()} >= {
        "billing",
        "delivery",
        "product quality",
        "account access",
    }
    take_screenshots(page, "configure-labels")
    page.get_by_role("button", name="Save and continue to the prompt").click()

    expect(page.locator("#prompt-preview")).to_contain_text("billing")
    page.locator("textarea").first.press("Control+End")
    page.locator("textarea").first.press_sequentially(" Think of a shop.")
    expect(page.locator("#prompt-preview")).to_contain_text("Think of a shop.")
    take_screenshots(page, "configure-prompt")
    page.get_by_role("button", name="Save and continue to the models").click()
    take_screenshots(page, "configure-models")
    page.get_by_role("button", name="Save and continue to the check").click()
    take_screenshots(page, "configure-start")
    page.get_by_role("button", name="Start LLM labeling").click()


def watch_labeling(page: Page) -> None:
    """Numbers move by themselves: over the websocket, without a reload."""
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    stage = page.locator("[data-stage]")
    expect(stage).to_be_attached()  # until the click has led to the page it can't be loaded anew
    page.reload()
    expect(stage).to_have_attribute("data-done", re.compile(r"^[1-9]\d*$"), timeout=STAGE_MS)
    first = int(stage.get_attribute("data-done") or 0)
    expect(page.locator("tr[id^=sample-]").first).to_be_visible(timeout=60_000)
    expect(stage).not_to_have_attribute("data-done", str(first), timeout=60_000)
    assert any("/ws/stages/" in url for url in sockets)
    take_screenshots(page, "labeling-running")
    expect(page.locator("[data-stage]")).to_have_attribute("data-status", "done", timeout=STAGE_MS)
    expect(page.locator("#said")).to_have_text("LLM labeling, 100 %, done")
    take_screenshots(page, "labeling-done")


def watch_filtering(page: Page) -> None:
    steps = page.get_by_role("navigation", name="Steps").get_by_role("listitem")
    steps.get_by_role("link", name=re.compile("SLM filtering")).click()
    expect(page.locator("[data-stage]")).to_have_attribute("data-status", "done", timeout=STAGE_MS)
    page.reload()
    expect(page.locator("tr[id^=sample-]").first.locator(".flag")).to_be_visible()
    expect(page.locator("[data-points-text]")).to_contain_text(str(ROWS))
    take_screenshots(page, "filtering-done")


def correct_a_row(page: Page) -> tuple[str, str]:
    """Correct the first likely wrong row in place; returns its number and the chosen label."""
    page.get_by_role("link", name=re.compile("Go to review|Review")).first.click()
    take_screenshots(page, "review")
    page.locator(".flags a").nth(3).click()
    row = page.locator("tr[id^=sample-]").first
    number = row.locator("td.pos").inner_text()
    address = page.url
    select = row.locator("select")
    options = [option.inner_text() for option in select.locator("option").all()]
    select.select_option(label=options[-1])
    saved = page.locator(f"#{row.get_attribute('id')}")
    expect(saved.locator(".saved")).to_contain_text("saved")
    assert page.url == address, "a correction needs no page load"
    take_screenshots(page, "review-corrected")
    return number.replace(",", ""), options[-1]


def refine_from_filtering(page: Page) -> None:
    page.get_by_role("navigation", name="Steps").get_by_role("link", name=re.compile("Review")).click()
    page.get_by_role("button", name="Refine from SLM filtering").click()
    expect(page.locator("[data-stage]")).to_have_attribute("data-status", "done", timeout=STAGE_MS)
    page.get_by_role("link", name=re.compile("Compare rounds", re.IGNORECASE)).click()
    expect(page.locator("table tbody tr")).to_have_count(2)
    take_screenshots(page, "rounds")


def check_correction_survived(page: Page, corrected: tuple[str, str]) -> None:
    page.get_by_role("navigation", name="Steps").get_by_role("link", name=re.compile("Review")).click()
    expect(page.locator("main")).to_contain_text(f"1 of {ROWS} rows")


def download_excel(page: Page, tmp_path: Path) -> Path:
    page.get_by_role("navigation", name="Steps").get_by_role("link", name=re.compile("Export")).click()
    path = create_file(page, tmp_path)
    take_screenshots(page, "export")
    return path


def check_workbook(path: Path, corrected: tuple[str, str]) -> None:
    workbook = openpyxl.load_workbook(path)
    header, *rows = workbook.worksheets[0].iter_rows(values_only=True)
    assert header[:4] == ("id", "text", "channel", "topic")
    assert {
        "final_label",
        "source",
        "llm_label",
        "slm_label",
        "confidence",
        "clean_probability",
        "corrected_by",
        "round",
    } <= set(header)
    assert len(rows) == ROWS
    number, label = corrected
    row = dict(zip(header, rows[int(number) - 1], strict=True))
    assert (row["final_label"], row["source"], row["corrected_by"]) == (label, "person", "admin")
    assert len(workbook.worksheets) >= 3
