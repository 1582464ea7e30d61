"""From an empty page to an Excel file in a real browser, and what is seen on the way: clicks, rows, live pages, accessibility.

A person makes a project of news on a scripted server that answers after 100 ms, and a project of records, which trains in
seconds. A click is a click, a choice or a chosen file; what is typed into a field that has the focus is none.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import Browser, Locator, Page, sync_playwright

from tests.bench.harness import Options, Report, run_bench
from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.documents.contact_sheet import make_scenes
from tests.support.contact_sheet import LOOKS, Look, pages_of, sign_in
from tests.support.fake_llm import Call, FakeLlm, Step, fake_llm, says
from tests.support.program import Program

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coral_site.settings")
ANSWER_SECONDS = 0.1
NEWS_ROWS, TRAINING_ROWS = 60, 3_000
WAIT_MS = 240_000
STALE_SECONDS = 12  # after a run's end, until every page must know of it
PARTS = ("room", "live", "axe", "clicks")
DESK = Look(1440, "light", "en")

IN_SIGHT = """element => { const box = element.getBoundingClientRect();
  return box.width > 0 && box.top >= 0 && box.left >= 0 && box.bottom <= innerHeight && box.right <= innerWidth }"""
ROWS_IN_SIGHT = f"rows => rows.filter({IN_SIGHT}).length"
TRAIN = """
from annotation.models import Project
from annotation.pipeline.iterate import start_round
project = Project.objects.get(pk={project})
start_round.start_round(project, started_from="slm", user=project.owner)
"""
RUNNING = """page => [...page.querySelectorAll('.pill.run, .steps .busy')].filter(each => !each.hidden)
  .map(each => each.textContent.trim())"""
LIVE_CELLS = "rows => rows.map(row => row.id + ' ' + row.innerText.replace(/\\\\s+/g, ' '))"


@dataclass
class Hand:
    """A person's mouse: does what is asked, and counts it."""

    page: Page
    clicks: int = 0
    log: list[str] = field(default_factory=list)

    def click(self, target: Locator) -> None:
        self._count(target)
        target.click()

    def choose_file(self, target: Locator, path: Path) -> None:
        self._count(target)
        target.set_input_files(path)

    def _count(self, target: Locator) -> None:
        self.clicks += 1
        self.log.append(str(target))


def measure(options: Options, report: Report) -> None:
    corpus = options.corpus("agnews.csv")
    options.corpus("tab_adult.csv")
    with (
        TemporaryDirectory() as place,
        answering_server(corpus) as server,
        Program(Path(place), CORAL_LEASE_SECONDS="30", CORAL_LLM_ALLOWED_HOSTS="127.0.0.1") as program,
        sync_playwright() as playwright,
    ):
        program.start()
        news, table = make_scenes(program, options.data, rows=TRAINING_ROWS)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        parts: dict[str, Callable[[], None]] = {
            "room": lambda: measure_room(browser, program, news, table, report),
            "live": lambda: measure_training(browser, program, table, report),
            "axe": lambda: measure_axe(browser, program, news, report, options),
            "clicks": lambda: measure_clicks(browser, program, server, corpus, Path(place), report),
        }
        for part in options.extra.only:
            parts[part]()
        browser.close()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="which parts are measured")


def answering_server(corpus: Path) -> Any:
    """A server that knows the reference labels, and is wrong on every eighth row."""
    with corpus.open(newline="", encoding="utf-8") as file:
        labels = {row["text"][:50]: row["label"] for row in islice(csv.DictReader(file), NEWS_ROWS)}
    names = sorted(set(labels.values()))

    def script(number: int, call: Call) -> Step:
        prompt = str(call.json["messages"])
        known = [(prompt.rfind(text), label) for text, label in labels.items() if text in prompt]
        label = max(known)[1] if known else names[0]
        if number % 8 == 0:
            label = names[(names.index(label) + 1) % len(names)]
        step = says(label)
        return Step(body=step.body, delay=ANSWER_SECONDS)

    return fake_llm(script)


# --- Room ---------------------------------------------------------------------------------------------------------


def measure_room(browser: Browser, program: Program, news: str, table: str, report: Report) -> None:
    context = sign_in(browser, program, DESK)
    page = context.new_page()
    for name, project, bar in (("rows_visible_news", news, 9), ("rows_visible_table", table, 12)):
        open_page(page, program, f"/projects/{project}/review/")
        seen = page.locator("tr[id^=sample-]").evaluate_all(ROWS_IN_SIGHT)
        report.measure(name, seen, must=f">= {bar}")
    open_page(page, program, f"/projects/{news}/review/")
    actions = {
        "refine from the LLM": page.get_by_text("Refine from LLM labeling"),
        "refine from the SLM": page.get_by_text("Refine from SLM filtering"),
        "download": page.get_by_text("Download the result"),
        "map": page.get_by_role("link", name="Map", exact=True),
        "goal bar": page.locator("#goal"),
    }
    hidden = [name for name, action in actions.items() if not is_in_sight(action)]
    open_page(page, program, f"/projects/{news}/filtering/")
    if not is_in_sight(page.locator("canvas[data-plot=points]")):
        hidden.append("the map itself")
    report.row(what="out of sight", found=", ".join(hidden))
    report.measure("fold_actions_hidden", len(hidden), must="<= 0")
    context.close()


def is_in_sight(target: Locator) -> bool:
    return target.count() > 0 and bool(target.first.evaluate(IN_SIGHT))


def open_page(page: Page, program: Program, path: str) -> None:
    page.goto(program.address + path)
    page.wait_for_load_state("networkidle")


# --- Live pages ---------------------------------------------------------------------------------------------------


def measure_training(browser: Browser, program: Program, table: str, report: Report) -> None:
    """A training, followed on its page and seen from all others."""
    context = sign_in(browser, program, DESK)
    pages = {}
    program.execute(TRAIN.format(project=table))
    page = context.new_page()
    page.goto(f"{program.address}/projects/{table}/filtering/")
    for name in ("projects", "review", "rounds", "export", "members", "models"):
        pages[name] = context.new_page()
        pages[name].goto(program.address + pages_of(table)[name])
    moved = follow_epochs(page)
    report.row(what="rows that changed after each epoch", found=str(moved))
    report.measure("live_rows_each_epoch", min(moved, default=0), must=">= 1")
    page.locator("[data-stage][data-status=done]").wait_for(state="attached", timeout=WAIT_MS)
    time.sleep(STALE_SECONDS)
    told = {name: each.locator("body").evaluate(RUNNING) for name, each in pages.items()}
    stale = {name: words for name, words in told.items() if words}
    report.row(what="pages that show an ended run as running", found=str(stale))
    report.measure("stale_pages", len(stale), must="<= 0")
    context.close()


def follow_epochs(page: Page) -> list[int]:
    """How many rows of the table changed with each epoch that the page has shown, after the first."""
    shown: dict[str, list[str]] = {}
    stage = page.locator("[data-stage]")
    ends = time.monotonic() + WAIT_MS / 1000
    while stage.get_attribute("data-status") != "done" and time.monotonic() < ends:
        epoch = (stage.get_attribute("data-epoch") or "").rpartition("/")[
            2
        ]  # whose rows are there to be shown
        cells = page.locator("tr[id^=sample-]").evaluate_all(LIVE_CELLS)
        if epoch not in ("", "0"):
            shown[epoch] = cells
        time.sleep(0.1)
    states = list(shown.values())
    return [
        sum(one != other for one, other in zip(before, after, strict=True))
        for before, after in pairwise(states)
        if len(before) == len(after)
    ]


# --- Accessibility ------------------------------------------------------------------------------------------------


def measure_axe(browser: Browser, program: Program, news: str, report: Report, options: Options) -> None:
    from axe_playwright_python.sync_playwright import Axe

    axe, total, most_tabs = Axe(), 0, 0
    for look in LOOKS[:1] if options.quick else LOOKS:
        context = sign_in(browser, program, look)
        page = context.new_page()
        for name, path in pages_of(news).items():
            open_page(page, program, path)
            for violation in axe.run(page).response["violations"]:
                total += len(violation["nodes"])
                report.row(
                    page=name,
                    look=look.name,
                    rule=violation["id"],
                    where=violation["nodes"][0]["target"],
                    nodes=len(violation["nodes"]),
                )
        if look.width == DESK.width:
            open_page(page, program, pages_of(news)["review"])
            most_tabs = max(most_tabs, tabs_to_first_row(page))
        context.close()
    report.measure("axe_violations", total, must="<= 0")
    report.measure("tabs_to_first_row", most_tabs, must="<= 8")


def tabs_to_first_row(page: Page) -> int:
    """Key presses to the first row: Tab to the skip link, Enter, and Tab."""
    for presses in range(1, 60):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "document.activeElement.closest('tr') ? 'row' : document.activeElement.hash || ''"
        )
        if focused == "row":
            return presses
        if focused == "#rows":
            page.keyboard.press("Enter")
    return 60


# --- Clicks -------------------------------------------------------------------------------------------------------


def measure_clicks(
    browser: Browser, program: Program, server: FakeLlm, corpus: Path, place: Path, report: Report
) -> None:
    context = sign_in(browser, program, DESK)
    page = context.new_page()
    hand = Hand(page)
    open_page(page, program, "/")
    go_to_first_label(hand, server, first_rows(corpus, place / "news.csv"))
    report.measure("clicks_to_first_label", hand.clicks, must="<= 10")
    page.goto(page.url.replace("labeling", "filtering"))  # the run goes there by itself; looking is no click
    page.locator("[data-stage][data-status=done]").wait_for(state="attached", timeout=WAIT_MS)
    hand.click(page.get_by_role("navigation", name="Steps").get_by_role("link", name="Export"))
    hand.click(page.get_by_role("button", name="Create file"))
    link = page.locator("#exports a[download]").first
    link.wait_for(timeout=WAIT_MS)
    with page.expect_download():
        hand.click(link)
    report.measure("clicks_to_excel", hand.clicks, must="<= 13")
    context.close()


def first_rows(corpus: Path, path: Path) -> Path:
    with (
        corpus.open(newline="", encoding="utf-8") as file,
        path.open("w", newline="", encoding="utf-8") as part,
    ):
        csv.writer(part).writerows(islice(csv.reader(file), NEWS_ROWS + 1))
    return path


def go_to_first_label(hand: Hand, server: FakeLlm, file: Path) -> None:
    page = hand.page
    hand.click(page.get_by_role("link", name="New project").first)
    page.keyboard.type("News of the week")  # the field has the focus
    hand.click(page.get_by_label("Topic classification"))
    hand.choose_file(page.locator("input[type=file]"), file)
    hand.click(page.get_by_role("button", name="Create and continue"))
    hand.click(page.get_by_role("button", name="Import", exact=True))
    page.get_by_role("heading", name="Labels").wait_for(timeout=WAIT_MS)  # a clean import leads on
    hand.click(page.get_by_role("button", name="Keep the default prompt, choose the models"))
    hand.click(page.locator("[name=kind][value=endpoint]"))
    address = page.locator("[name=base_url]")
    hand.click(address)
    page.keyboard.type(f"{server.url}/v1")
    while page.evaluate("document.activeElement.name") != "endpoint_model":
        page.keyboard.press("Tab")
    page.keyboard.type("fake")
    hand.click(page.get_by_role("button", name="Save and continue to the check"))
    hand.click(page.get_by_role("button", name="Start LLM labeling"))
    page.locator("tr[id^=sample-] td[data-l=LLM] .chip").first.wait_for(timeout=WAIT_MS)


if __name__ == "__main__":
    raise SystemExit(run_bench("journey", __doc__, measure, add_arguments=add_arguments))
