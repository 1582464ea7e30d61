"""The review table in a browser: filter, keep the filter, choose columns, correct many rows at once and take it back."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import log_in, take_screenshots
from tests.support.program import Program

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

SEED = """
from django.contrib.auth.models import User
from tests.support.factories import make_project
from tests.support.pages import judge_rows
project = make_project(rows=120, owner=User.objects.get(username="admin"))
judge_rows(project)
print(project.pk)
"""
ROWS = "tr[id^=sample-]"
IS_SCROLLED = "(() => { const box = document.querySelector('#rows .scroll'); return box.scrollWidth > box.clientWidth; })()"
CORRECTION_IS_SEEN = """(() => {
    return document.querySelector('.correct select').getBoundingClientRect().right <= window.innerWidth;
})()"""


def test_a_person_filters_keeps_the_filter_and_corrects_many_rows_at_once(
    page: Page, program: Program
) -> None:
    log_in(page, program)
    project = program.execute(SEED)
    page.goto(f"{program.address}/projects/{project}/review/")
    filter_rows(page)
    save_filter(page)
    choose_columns(page)
    relabel_all_that_match(page)
    undo(page)
    accept_chosen_rows(page)
    look_on_a_phone(page)
    decided = f"SELECT count(*) FROM annotation_sample WHERE project_id = {project} AND source = 'person'"
    assert program.query(decided) == [(2,)], "the accepted rows; the relabelled ones were undone"


def filter_rows(page: Page) -> None:
    """Each filter acts at once, stands in the address and as a pill, and another one narrows it."""
    page.locator("#filter-show").select_option("inconsistent")
    expect(page.locator(ROWS)).to_have_count(40)
    page.locator("summary", has_text="More filters").click()
    page.get_by_label("LLM label").select_option(label="negative")
    expect(page.locator(ROWS)).to_have_count(20)
    page.get_by_role("searchbox").fill("number 1")
    expect(page.locator(".bar .pill")).to_have_count(3)
    expect(page).to_have_url(re.compile(r"\?show=inconsistent&llm=\d+&q=number\+1$"))
    found = page.locator(ROWS).count()
    assert 0 < found < 20
    take_screenshots(page, "review-filtered")
    page.reload()
    expect(page.locator(ROWS)).to_have_count(found)
    page.locator(".bar .pill", has_text="number 1").click()
    expect(page.locator(ROWS)).to_have_count(20)


def save_filter(page: Page) -> None:
    page.locator("summary", has_text="Save this filter").click()
    page.get_by_label("Name of the filter").fill("Said negative")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messages")).to_contain_text("Said negative")
    expect(page.locator(ROWS)).to_have_count(20)
    page.goto(page.url.partition("?")[0])
    expect(page.locator(ROWS)).to_have_count(50)
    page.locator("summary", has_text="Saved filters").click()
    take_screenshots(page, "review-saved-filters")
    page.get_by_role("link", name="Said negative").click()
    expect(page.locator(ROWS)).to_have_count(20)


def choose_columns(page: Page) -> None:
    page.locator("summary", has_text="Columns").click()
    page.locator(".pane").get_by_label("Clean probability").uncheck()
    page.locator(".pane").get_by_label("Risk").check()
    take_screenshots(page, "review-columns")
    page.get_by_role("button", name="Show these columns").click()
    expect(page.get_by_role("columnheader", name="Risk")).to_be_visible()
    expect(page.get_by_role("columnheader", name="Clean probability")).to_have_count(0)
    expect(page.locator(ROWS)).to_have_count(20)
    show_every_column(page)


def show_every_column(page: Page) -> None:
    """The correction stays in sight, though the other columns have to be scrolled."""
    page.locator("summary", has_text="Columns").click()
    for box in page.locator(".pane input[name=column]").all():
        box.check()
    page.get_by_role("button", name="Show these columns").click()
    expect(page.get_by_role("columnheader", name="Clean probability")).to_be_visible()
    assert page.evaluate(IS_SCROLLED), "the table is wider than its place"
    assert page.evaluate(CORRECTION_IS_SEEN)
    assert page.locator(ROWS).first.evaluate("row => row.offsetHeight") < 70, "no column is squeezed"


def relabel_all_that_match(page: Page) -> None:
    page.locator(".many summary").click()
    page.locator("#bulk select").select_option(label="negative")
    take_screenshots(page, "review-bulk")
    page.get_by_role("button", name="For all matching rows…").click()
    expect(page.locator("main .big")).to_contain_text("20 rows")
    take_screenshots(page, "bulk")
    page.get_by_role("button", name="Relabel 20 rows").click()
    expect(page.locator(".messages")).to_contain_text("20 rows are relabelled")
    expect(page.locator(ROWS)).to_have_count(0)


def undo(page: Page) -> None:
    page.locator("summary", has_text="Bulk corrections").click()
    card = page.locator(".batches")
    expect(card).to_contain_text("20 rows")
    card.get_by_role("button", name="Undo").click()
    expect(page.locator(".messages")).to_contain_text("20 rows have their earlier labels again")
    take_screenshots(page, "review-undone")
    page.locator("summary", has_text="Saved filters").click()
    page.get_by_role("link", name="Said negative").click()
    expect(page.locator(ROWS)).to_have_count(20)


def accept_chosen_rows(page: Page) -> None:
    page.locator(".many summary").click()
    first, second = page.locator("input.pick").nth(0), page.locator("input.pick").nth(1)
    first.check()
    second.check()
    page.get_by_role("button", name="For the selected rows…").click()
    page.get_by_role("button", name="Accept 2 rows").click()
    expect(page.locator(".messages")).to_contain_text("2 rows are accepted")
    expect(page.locator(ROWS)).to_have_count(18)


def look_on_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.get_by_role("link", name="admin", exact=True)).to_be_visible()
    page.locator(ROWS).first.get_by_role("link").first.click()
    expect(page.locator(".focus-row.current summary", has_text="History")).to_be_visible()
    page.get_by_role("link", name="admin", exact=True).click()
    expect(page).to_have_url(re.compile("password"))
