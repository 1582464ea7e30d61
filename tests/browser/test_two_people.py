"""Two people in two browsers on one queue."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.people import answers, browser_of, make_review, row_number
from tests.support.program import Program

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SAVED = re.compile("all saved")


def test_two_people_share_a_queue_without_ever_seeing_the_same_row(
    browser: Browser, program: Program
) -> None:
    project = make_review(program, rows=30)
    seen: dict[str, list[str]] = {"anna": [], "ben": []}
    with browser_of(browser, program, "anna") as first, browser_of(browser, program, "ben") as second:
        pages = {"anna": first.new_page(), "ben": second.new_page()}
        for page in pages.values():
            page.goto(f"{project}focus/")
        for _turn in range(30):
            for name, page in pages.items():
                if page.locator(".focus-row.current").count():
                    seen[name].append(row_number(page))
                    page.keyboard.press("1")
                    expect(page.locator("#focus-sign")).to_have_text(SAVED)
                    page.wait_for_timeout(80)
        for page in pages.values():
            expect(page.locator("#focus-end")).to_be_visible()
    assert not set(seen["anna"]) & set(seen["ben"])
    assert sorted(map(int, seen["anna"] + seen["ben"])) == list(range(1, 31))
    assert len(answers(program, project)) == 30


def test_if_both_answer_the_same_row_the_second_sees_the_first_and_decides(
    browser: Browser, program: Program
) -> None:
    project = make_review(program, prefix="both-")
    with (
        browser_of(browser, program, "both-anna") as first,
        browser_of(browser, program, "both-ben") as second,
    ):
        anna, ben = first.new_page(), second.new_page()
        anna.goto(f"{project}focus/")
        row = anna.locator(".focus-row.current").get_attribute("data-row")
        ben.goto(f"{project}focus/?row={row}")  # from a link, though Anna has it
        answer(anna, "2")
        answer(ben, "1")
        expect(ben.locator(".focus-row.current")).to_have_attribute("data-row", row or "")
        expect(ben.locator(".focus-row.current .note")).to_contain_text(
            "both-anna has set this row to “negative” in the meantime"
        )
        ben.keyboard.press("2")  # meant for the row that was shown a moment ago
        expect(ben.locator(".arriving")).to_have_count(0)
        answer(ben, "1")
        expect(ben.locator(".focus-row.current")).not_to_have_attribute("data-row", row or "")
    assert answers(program, project) == [(1, "negative", "both-anna"), (1, "positive", "both-ben")]


def answer(page: Page, key: str) -> None:
    page.keyboard.press(key)
    expect(page.locator("#focus-sign")).to_have_text(SAVED)
