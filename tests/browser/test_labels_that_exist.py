"""Labels that a file brings, some of them wrong: the SLM finds suspects, a person corrects one, and the workbook holds it."""

from __future__ import annotations

import csv
import random
from itertools import islice
from pathlib import Path

import openpyxl
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import create_file, log_in, take_screenshots
from tests.support.program import Program

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

SAMPLE = Path(__file__).resolve().parents[2] / "annotation" / "samples" / "customer_messages.csv"
ROWS, WRONG = 240, 30
FIRST = 30  # rows of the review that are looked at
STAGE_MS = 300_000


def test_wrong_labels_of_a_file_come_first_and_a_corrected_one_is_in_the_workbook(
    page: Page, program: Program, tmp_path: Path
) -> None:
    path = tmp_path / "messages.csv"
    truth, wrong = plant_wrong_labels(path)
    log_in(page, program)
    import_file(page, path)
    take_labels(page)
    number = correct_first_suspect(page, truth, wrong)
    check_workbook(export_workbook(page, tmp_path), number, truth[number])


def plant_wrong_labels(path: Path) -> tuple[dict[int, str], set[int]]:
    """Write messages with their topics, some of them changed; returns the true topics by row number, and the changed rows."""
    with SAMPLE.open(newline="", encoding="utf-8") as file:
        rows = list(islice(csv.DictReader(file), ROWS))
    chance = random.Random(0)
    truth = {number: row["topic"] for number, row in enumerate(rows, start=1)}
    names = sorted(set(truth.values()))
    wrong = set(chance.sample(sorted(truth), WRONG))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number, row in enumerate(rows, start=1):
            others = [name for name in names if name != truth[number]]
            writer.writerow([row["text"], chance.choice(others) if number in wrong else truth[number]])
    return truth, wrong


def import_file(page: Page, path: Path) -> None:
    page.get_by_role("link", name="New project").first.click()
    page.get_by_label("Project name").fill("Messages with topics")
    page.get_by_label("Topic classification").check()
    page.locator("main button.primary").click()
    page.locator("input[type=file]").set_input_files(path)
    page.get_by_role("button", name="Upload and preview").click()
    expect(page.get_by_label("Reference label (optional)")).to_have_value("label")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_role("heading", name="Labels")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Keep the default prompt, choose the models").click()
    page.get_by_role("button", name="Save and continue to the check").click()


def take_labels(page: Page) -> None:
    page.get_by_text("Use labels that exist already").click()
    expect(
        page.get_by_role("group", name="Columns with labels").get_by_label("label", exact=True)
    ).to_be_checked()
    expect(page.get_by_label("coarse labels, in which the SLM looks for errors")).to_be_checked()
    page.get_by_role("button", name="Take these labels").click()
    expect(page.locator("[data-stage]")).to_have_attribute("data-status", "done", timeout=60_000)
    onward = page.get_by_role("link", name="Go to SLM filtering")
    expect(onward).to_be_visible()
    expect(page.locator("tr[id^=sample-]").first).to_be_visible()
    take_screenshots(page, "labels-that-exist-taken")
    onward.click()
    expect(page.locator("[data-stage]")).to_have_attribute("data-status", "done", timeout=STAGE_MS)
    expect(page.locator("[data-points-text]")).to_contain_text(f"{ROWS} rows")
    take_screenshots(page, "labels-that-exist-filtered")
    page.get_by_role("link", name="Go to review").click()


def correct_first_suspect(page: Page, truth: dict[int, str], wrong: set[int]) -> int:
    """Give the first planted error its true label; returns its number."""
    numbers = [int(cell.inner_text()) for cell in page.locator("tr[id^=sample-] td.pos").all()[:FIRST]]
    found = [number for number in numbers if number in wrong]
    assert len(found) > 3 * FIRST * WRONG / ROWS, f"{len(found)} of the first {FIRST} rows are planted errors"
    row = page.locator("tr[id^=sample-]").nth(numbers.index(found[0]))
    row.locator("select").select_option(label=truth[found[0]])
    expect(row.locator(".saved")).to_contain_text("saved")
    take_screenshots(page, "labels-that-exist-corrected")
    return found[0]


def export_workbook(page: Page, tmp_path: Path) -> Path:
    page.get_by_role("link", name="Download the result").click()
    return create_file(page, tmp_path)


def check_workbook(path: Path, number: int, label: str) -> None:
    header, *cells = openpyxl.load_workbook(path)["Rows"].iter_rows(values_only=True)
    rows = [dict(zip(header, each, strict=True)) for each in cells]
    assert len(rows) == ROWS
    corrected = rows[number - 1]
    assert (corrected["final_label"], corrected["source"], corrected["corrected_by"]) == (
        label,
        "person",
        "admin",
    )
    assert corrected["label"] == corrected["llm_label"] != label
    assert [row["source"] for row in rows].count("person") == 1
