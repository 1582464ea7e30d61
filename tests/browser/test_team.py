"""A team in a real browser: an invitation by link, guidelines beside the row, and who did what."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import take_screenshots
from tests.browser.people import answers, browser_of, make_review
from tests.support.program import Program

pytestmark = [pytest.mark.browser, pytest.mark.slow]

GUIDELINES = """## What counts as negative

* A complaint is **negative**, also when it is polite.
* Irony counts as what it *means*.

| Text | Label |
|---|---|
| "great, broken again" | negative |
"""


def test_a_person_without_an_account_joins_by_link_and_reviews(browser: Browser, program: Program) -> None:
    project = make_review(program, prefix="team-")
    with browser_of(browser, program, "team-anna") as owners:
        anna = owners.new_page()
        anna.goto(f"{project}members/guidelines/")
        anna.get_by_label("Guidelines", exact=True).fill(GUIDELINES)
        anna.get_by_role("button", name="Save").click()
        expect(anna.locator(".prose h2")).to_have_text("What counts as negative")
        take_screenshots(anna, "guidelines")
        anna.goto(f"{project}members/")
        anna.get_by_role("button", name="Create link").click()
        link = anna.locator("#invitation-link").input_value()
        take_screenshots(anna, "members")

        guests = browser.new_context(viewport={"width": 1440, "height": 900})
        nora = guests.new_page()
        nora.goto(link)
        take_screenshots(nora, "join")
        nora.get_by_label("Username").fill("team-nora")
        for field in nora.locator("input[type=password]").all():
            field.fill("a quiet reef at noon")
        nora.get_by_role("button", name="Create account and join").click()
        nora.goto(f"{project}focus/")
        expect(nora.locator(".focus-guidelines .prose table")).to_contain_text("broken again")
        take_screenshots(nora, "focus-guidelines")
        for _ in range(3):
            nora.keyboard.press("2")
        expect(nora.locator("#focus-sign")).to_contain_text("all saved")
        guests.close()

        anna.goto(f"{project}members/activity/")
        expect(anna.locator("tbody").first).to_contain_text("team-nora")
        expect(anna.locator("tbody").last).to_contain_text("joined by invitation as: Reviewer")
        take_screenshots(anna, "activity")
    assert [user for _row, _label, user in answers(program, project)] == ["team-nora"] * 3
