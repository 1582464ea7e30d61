"""A viewer looks and downloads, and nothing else: every button and every URL is tried."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.annotation.views.test_permissions import TABLE
from tests.browser.conftest import create_file
from tests.browser.people import browser_of, make_review
from tests.support.program import Program

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LISTING = """
from django.urls import get_resolver
from annotation.models import Project, Sample, Stage
project = Project.objects.get(pk={project})
ids = {{"project_id": project.pk, "sample_id": project.samples.first().pk,
        "stage_id": project.stages.first().pk, "membership_id": project.memberships.first().pk}}
for pattern in get_resolver("annotation.urls").url_patterns:
    path = str(pattern.pattern)
    for name in pattern.pattern.converters:
        path = path.replace(f"<id:{{name}}>", str(ids.get(name, 1)))
    print(f"annotation:{{pattern.name}} /{{path}}")
"""
OPEN = ("everyone", "user", "viewer")
MAY_LOOK = {name for name, access in TABLE.items() if access.least in OPEN and access.method == "get"}
MAY_DO = {name for name, access in TABLE.items() if access.least in OPEN and access.method == "post"} | {
    "annotation:create_project",  # one of their own
    "annotation:tokens",  # theirs, too
}
TABLES = (
    "correction",
    "iteration",
    "stage",
    "label",
    "membership",
    "sample",
    "project",
    "invitation",
    "auditdraw",
)


def test_a_viewer_who_tries_every_button_and_every_url_changes_nothing(
    browser: Browser, program: Program
) -> None:
    project = make_review(program, rows=12)
    before = state_of(program)
    with browser_of(browser, program, "vera") as context:
        page = context.new_page()
        press_everything(page, project)
        try_every_url(context, program, project)
    assert state_of(program) == before


def test_a_viewer_downloads_the_file(browser: Browser, program: Program, tmp_path: Path) -> None:
    project = make_review(program, rows=12, prefix="download-")
    with browser_of(browser, program, "download-vera") as context:
        page = context.new_page()
        page.goto(f"{project}export/")
        assert create_file(page, tmp_path).suffix == ".xlsx"


def state_of(program: Program) -> dict[str, list[tuple[object, ...]]]:
    """All rows of what a viewer may not change."""
    return {table: program.query(f"SELECT * FROM annotation_{table} ORDER BY id") for table in TABLES}


def press_everything(page: Page, project: str) -> None:
    """Follow every link of the project's pages and press every button there is, but for the export and the log-out."""
    waiting, done = [project], set()
    while waiting:
        address = waiting.pop()
        if address in done:
            continue
        done.add(address)
        page.goto(address)
        links = [link.get_attribute("href") or "" for link in page.locator("main a, nav a").all()]
        origin = re.match(r"https?://[^/]+", project)
        assert origin
        for link in links:
            full = link if link.startswith("http") else f"{origin[0]}{link}" if link.startswith("/") else ""
            if full.startswith(project) and "download" not in full and "export" not in full:
                waiting.append(full.partition("#")[0])
        press_buttons(page, address)
    assert len(done) >= 5


def press_buttons(page: Page, address: str) -> None:
    for place in range(page.locator("main button:visible").count()):
        page.goto(address)
        button = page.locator("main button:visible").nth(place)
        if button.count():
            button.click()
            page.wait_for_load_state()
        assert page.locator("main").count()  # never a broken page


def try_every_url(context: BrowserContext, program: Program, project: str) -> None:
    number = project.rstrip("/").rpartition("/")[2]
    token = next(cookie["value"] for cookie in context.cookies() if cookie["name"].endswith("_csrf"))
    headers = {"X-CSRFToken": token, "Referer": project}
    tried = 0
    for line in program.execute(LISTING.format(project=number)).splitlines():
        name, _, path = line.partition(" ")
        address = f"{program.address}{path}"
        looked = context.request.get(address, max_redirects=0).status
        assert looked in ({200, 302, 404} if name in MAY_LOOK else {403, 404, 405}), (name, looked)
        if name not in MAY_DO:
            pressed = context.request.post(address, headers=headers, max_redirects=0).status
            assert pressed in (403, 404, 405), (name, pressed)
        tried += 1
    assert tried > 35
