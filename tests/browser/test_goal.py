"""From a target to a certificate: the autopilot asks, a person answers by keyboard, and the file says what holds."""

from __future__ import annotations

import re
from pathlib import Path

import openpyxl
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import create_file, take_screenshots
from tests.browser.people import browser_of, make_review, row_number
from tests.support.program import Program

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PLAN_MS = 90_000
#: The rows of make_review are all right; their risk says so, too.
SURE = "from annotation.models import Sample; Sample.objects.filter(project={project}).update(risk=0.02)"


def test_the_autopilot_asks_by_itself_and_ends_with_a_certificate(
    browser: Browser, program: Program, tmp_path: Path
) -> None:
    project = make_review(program, rows=90, prefix="goal-")
    program.execute(SURE.format(project=project.rstrip("/").rpartition("/")[2]))
    with browser_of(browser, program, "goal-anna", accept_downloads=True) as context:
        page = context.new_page()
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        set_target(page, project)
        bar = page.locator("#goal")
        while not is_certified(page, bar):
            answer_what_is_asked(page, bar)
            page.goto(f"{project}goal/")
        take_screenshots(page, "goal-bar")
        page.goto(f"{project}certificate/")
        expect(page.locator("article")).to_contain_text("The target of 95\N{NO-BREAK SPACE}% is reached.")
        take_screenshots(page, "certificate")
        check_workbook(download_excel(page, project, tmp_path))
        assert problems == []


def set_target(page: Page, project: str) -> None:
    page.goto(f"{project}goal/")
    page.get_by_label("Right labels (%)").fill("95")
    page.get_by_label("Autopilot").check()
    page.get_by_role("button", name="Save", exact=True).click()


def is_certified(page: Page, bar: Locator) -> bool:
    """Wait for what the bar is told, without a reload: rows to answer, or the end."""
    expect(bar).to_contain_text(
        re.compile("wait for an answer|waits for an answer|Certified"), timeout=PLAN_MS
    )
    return "Certified" in bar.inner_text()


def answer_what_is_asked(page: Page, bar: Locator) -> None:
    """By keyboard alone; rows with odd numbers are positive, the others negative."""
    bar.get_by_role("link", name="Answer them").click()
    page.wait_for_url(re.compile("only=random"))
    while page.locator(".focus-row.current").count():
        number = row_number(page)
        page.keyboard.press("1" if int(number) % 2 else "2")
        expect(page.locator(f".focus-row.current[data-number='{number}']")).to_have_count(0)
    expect(page.locator("#focus-sign")).to_have_text(re.compile("all saved"))


def download_excel(page: Page, project: str, tmp_path: Path) -> Path:
    page.goto(f"{project}export/")
    return create_file(page, tmp_path)


def check_workbook(path: Path) -> None:
    sheet = openpyxl.load_workbook(path)["Certificate"]
    lines = [str(row[0]) for row in sheet.iter_rows(values_only=True)]
    assert "is reached." in lines[1]
