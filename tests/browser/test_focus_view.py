"""The focus view in a real browser: by keyboard alone, undo across a reload, a lost connection, without scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import APIResponse, Browser, BrowserContext, Page, Route, expect

from tests.browser.conftest import take_screenshots
from tests.browser.people import answers, browser_of, make_review, row_number
from tests.support.program import Program

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SAVED = re.compile("all saved")
NEXT_ROW_MS = """() => new Promise((resolve) => {
    const before = document.querySelector(".focus-row.current").dataset.row, start = performance.now();
    document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "1", bubbles: true}));
    requestAnimationFrame(() => setTimeout(() => {
        const now = document.querySelector(".focus-row.current");
        resolve(now && now.dataset.row !== before && now.firstElementChild.offsetHeight > 0 ? performance.now() - start : Infinity);
    }));
})"""


@pytest.fixture
def project(program: Program, request: pytest.FixtureRequest) -> str:
    return make_review(program, prefix=f"t{abs(hash(request.node.name)) % 10**6}-")


@pytest.fixture
def context(browser: Browser, program: Program, project: str) -> Iterator[BrowserContext]:
    owner = program.query(
        "SELECT u.username FROM annotation_project p JOIN auth_user u ON u.id = p.owner_id ORDER BY p.id DESC LIMIT 1"
    )
    with browser_of(browser, program, owner[0][0]) as context:
        yield context


@pytest.fixture
def focus(context: BrowserContext, project: str) -> Page:
    page = context.new_page()
    page.goto(f"{project}focus/")
    return page


def is_saved(page: Page) -> None:
    expect(page.locator("#focus-sign")).to_have_text(SAVED)


def test_rows_are_reviewed_by_keyboard_alone(focus: Page, program: Program, project: str) -> None:
    problems: list[str] = []
    focus.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    focus.on("pageerror", lambda error: problems.append(str(error)))
    take_screenshots(focus, "focus")
    assert row_number(focus) == "1"
    left = focus.locator("[data-left=rows]")
    left_before = left.inner_text()
    focus.keyboard.press("2")
    assert row_number(focus) == "2"
    focus.keyboard.press("Enter")
    assert row_number(focus) == "3"
    focus.keyboard.press("s")
    focus.keyboard.press("1")
    assert row_number(focus) == "5"
    is_saved(focus)
    assert [row[:2] for row in answers(program, project)] == [
        (1, "negative"),
        (2, "negative"),
        (4, "positive"),
    ]
    expect(left).to_have_text(str(int(left_before) - 2))

    focus.keyboard.press("ArrowLeft")
    assert row_number(focus) == "4"
    expect(focus.locator(".focus-row.current [data-chosen]")).to_have_text("Your answer: positive")
    focus.keyboard.press("2")  # another word on the same row
    is_saved(focus)
    assert answers(program, project)[-1][:2] == (4, "negative")
    for expected in ("4", "4", "2", "1"):
        focus.keyboard.press("u")
        expect(focus.locator(".focus-row.current")).to_have_attribute("data-number", expected)
    is_saved(focus)
    assert answers(program, project) == []
    expect(left).to_have_text(left_before)

    focus.keyboard.press("?")
    expect(focus.locator("#focus-help")).to_be_visible()
    take_screenshots(focus, "focus-keys")
    focus.keyboard.press("?")
    expect(focus.locator("#focus-help")).to_be_hidden()
    assert problems == []


def test_the_next_row_is_there_within_100_ms_and_rows_never_run_dry(
    focus: Page, program: Program, project: str
) -> None:
    times = []
    for number in range(20):
        times.append(focus.evaluate(NEXT_ROW_MS))
        focus.wait_for_timeout(150)  # a very quick reader
        expect(focus.locator("[data-today]")).to_have_text(str(number + 1))
    is_saved(focus)
    assert len(answers(program, project)) == 20
    assert sorted(times)[18] < 100, times


def test_figures_that_come_late_with_more_rows_do_not_put_the_count_back(focus: Page) -> None:
    """The rows were asked for before the second answer was saved, and arrive after it."""
    focus.wait_for_load_state("networkidle")
    left = focus.locator("[data-left=rows]")
    late: list[tuple[Route, APIResponse]] = []
    focus.route("**/focus/next/", lambda route: late.append((route, route.fetch())))
    while not late:
        focus.keyboard.press("2")
        focus.wait_for_timeout(100)
    is_saved(focus)
    left_before = left.inner_text()
    while left.inner_text() == left_before:  # not every row that is asked has a flag
        focus.keyboard.press("1")
        is_saved(focus)
    today, shown_left = focus.locator("[data-today]").inner_text(), left.inner_text()
    rows_before = focus.locator(".focus-row").count()
    for route, response in late:
        route.fulfill(response=response)
    focus.unroute("**/focus/next/")
    expect(focus.locator(".focus-row")).not_to_have_count(rows_before)
    expect(left).to_have_text(shown_left)
    expect(focus.locator("[data-today]")).to_have_text(today)
    assert (left.inner_text(), focus.locator("[data-today]").inner_text()) == (shown_left, today)


def test_undo_goes_on_after_a_reload(focus: Page, program: Program, project: str) -> None:
    for key in ("1", "2", "1"):
        focus.keyboard.press(key)
    is_saved(focus)
    focus.reload()
    assert row_number(focus) == "4"
    for expected in ("3", "2"):
        focus.keyboard.press("u")
        expect(focus.locator(".focus-row.current")).to_have_attribute("data-number", expected)
    is_saved(focus)
    assert [row[:2] for row in answers(program, project)] == [(1, "positive")]
    expect(focus.locator(".arriving")).to_have_count(0)
    focus.keyboard.press("2")
    is_saved(focus)
    assert [row[:2] for row in answers(program, project)] == [(1, "positive"), (2, "negative")]


def test_a_lost_connection_keeps_the_answers_and_sends_them_later(
    focus: Page, context: BrowserContext, program: Program, project: str
) -> None:
    focus.wait_for_load_state("networkidle")
    context.set_offline(True)
    for key in ("1", "2", "2", "1"):
        focus.keyboard.press(key)
    expect(focus.locator("#focus-sign")).to_contain_text(
        "No connection. Answers are kept here and sent when it is back: 4"
    )
    take_screenshots(focus, "focus-offline")
    focus.keyboard.press("u")
    assert answers(program, project) == []
    context.set_offline(False)
    is_saved(focus)
    assert [row[:2] for row in answers(program, project)] == [
        (1, "positive"),
        (2, "negative"),
        (3, "negative"),
    ]


def test_unsent_answers_are_sent_by_the_next_visit(
    focus: Page, context: BrowserContext, program: Program, project: str
) -> None:
    focus.wait_for_load_state("networkidle")
    context.set_offline(True)
    focus.keyboard.press("2")
    expect(focus.locator("#focus-sign")).to_contain_text("No connection")
    focus.close(run_before_unload=False)
    context.set_offline(False)
    again = context.new_page()
    again.goto(f"{project}focus/")
    is_saved(again)
    assert row_number(again) == "2"
    assert [row[:2] for row in answers(program, project)] == [(1, "negative")]


def test_two_tabs_that_send_the_same_answers_at_once_lose_none(
    focus: Page, context: BrowserContext, program: Program, project: str
) -> None:
    """The first tab's second answer gets lost on its way, just when the other tab is done with the first one."""
    other = context.new_page()
    other.goto(f"{project}focus/")
    for page in (focus, other):
        page.wait_for_load_state("networkidle")
    context.set_offline(True)
    for key in "12121":
        focus.keyboard.press(key)
    sent: dict[Page, list[Route]] = {focus: [], other: []}
    focus.route("**/focus/answer/", lambda route: sent[focus].append(route))
    other.route("**/focus/answer/", lambda route: sent[other].append(route))
    context.set_offline(False)  # both are told that the connection is back

    def is_sending(page: Page, count: int) -> Route:
        while len(sent[page]) < count:
            page.wait_for_timeout(50)
        return sent[page][-1]

    is_sending(other, 1)
    is_sending(focus, 1).continue_()
    second = is_sending(focus, 2)
    sent[other][0].continue_()
    is_sending(other, 2)
    second.abort()
    for page in sent:
        page.unroute("**/focus/answer/")  # lets go what is held
    for page in sent:
        expect(page.locator("#focus-sign")).to_have_text(SAVED, timeout=20_000)
    numbers = [row[:2] for row in answers(program, project)]
    assert numbers == [(number, ("positive", "negative")[(number - 1) % 2]) for number in range(1, 6)]


def test_an_answer_whose_reply_was_lost_is_saved_once(focus: Page, program: Program, project: str) -> None:
    lost: list[str] = []

    def lose_first_reply(route: object) -> None:
        if lost:
            route.continue_()  # type: ignore[attr-defined]
            return
        lost.append("x")
        route.fetch()  # type: ignore[attr-defined]
        route.abort()  # type: ignore[attr-defined]

    focus.route("**/focus/answer/", lose_first_reply)
    focus.keyboard.press("1")
    expect(focus.locator("#focus-sign")).to_contain_text("No connection")
    is_saved(focus)
    assert [row[:2] for row in answers(program, project)] == [(1, "positive")]


def test_who_is_signed_out_meanwhile_keeps_the_answers(
    focus: Page, context: BrowserContext, program: Program, project: str
) -> None:
    focus.wait_for_load_state("networkidle")
    session = next(cookie for cookie in context.cookies() if cookie["name"].endswith("_session"))
    context.clear_cookies(name=session["name"])
    focus.keyboard.press("1")
    expect(focus.locator("#focus-sign")).to_contain_text("You are logged out")
    context.add_cookies([{"name": session["name"], "value": session["value"], "url": program.address}])
    is_saved(focus)
    assert len(answers(program, project)) == 1


def test_an_answer_to_a_row_that_is_gone_is_told_of_and_takes_no_other_with_it(
    focus: Page, context: BrowserContext, program: Program, project: str
) -> None:
    focus.wait_for_load_state("networkidle")
    context.set_offline(True)
    for key in ("1", "2", "2"):
        focus.keyboard.press(key)
    number = project.rstrip("/").rpartition("/")[2]
    program.execute(
        f"from annotation.models import Sample\nSample.objects.get(project={number}, position=1).delete()"
    )
    context.set_offline(False)
    expect(focus.locator("#notice")).to_contain_text("This row is no longer in the project")
    is_saved(focus)
    assert [row[:2] for row in answers(program, project)] == [(1, "positive"), (3, "negative")]
    expect(focus.locator("[data-today]")).to_have_text("2")
    assert row_number(focus) == "4"


def test_answers_wait_while_the_project_is_put_away(focus: Page, program: Program, project: str) -> None:
    focus.wait_for_load_state("networkidle")
    number = project.rstrip("/").rpartition("/")[2]
    put = f"from annotation.models import Project\nfrom django.utils import timezone\nProject.objects.filter(pk={number}).update"
    program.execute(f"{put}(put_away_at=timezone.now())")
    for key in ("1", "2"):
        focus.keyboard.press(key)
    expect(focus.locator("#focus-sign")).to_contain_text("Answers kept here: 2")
    program.execute(f"{put}(put_away_at=None)")
    is_saved(focus)
    assert [row[:2] for row in answers(program, project)] == [(1, "positive"), (2, "negative")]


def test_without_scripts_the_view_is_a_form(browser: Browser, program: Program) -> None:
    project = make_review(program, prefix="plain-")
    with browser_of(browser, program, "plain-anna", java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{project}focus/")
        shown = page.locator(".focus-row:visible")
        expect(shown).to_have_count(1)
        shown.get_by_role("button", name="negative").click()
        expect(page.locator(".focus-row:visible")).to_have_attribute("data-number", "2")
        page.locator(".focus-row:visible").get_by_role("button", name="Skip").click()
        expect(page.locator(".focus-row:visible")).to_have_attribute("data-number", "3")
        page.locator(".focus-row:visible").get_by_role("button", name="Undo").click()
        expect(page.locator(".focus-row:visible")).to_have_attribute("data-number", "1")
    assert answers(program, project) == []
