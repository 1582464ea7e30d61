"""A real browser against the real program: started by ``manage.py up``, driven as a person would."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.program import Program

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENSHOTS = Path(os.environ.get("CORAL_SCREENSHOTS", Path(__file__).resolve().parents[2] / "screenshots"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        reason = f"There is no Chromium at {CHROMIUM}; install the package chromium."
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    # A lease as on a person's machine: the models load for longer than the short lease of the kill tests.
    with Program(tmp_path_factory.mktemp("program"), CORAL_LEASE_SECONDS="30") as program:
        program.start()
        yield program


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page at desk size; the test fails if the browser reports any error, CSP violations included."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    context.close()
    assert problems == []


def log_in(page: Page, program: Program) -> None:
    page.goto(program.address)
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(program.password)
    page.get_by_role("button", name="Log in").click()
    if "password" in page.url:
        _choose_password(page, program.password)
    page.goto(program.address)


def _choose_password(page: Page, old: str) -> None:
    """The one-time password has to be changed at the first login."""
    page.get_by_label(re.compile("old password", re.IGNORECASE)).fill(old)
    for field in page.locator("input[type=password]").all()[1:]:
        field.fill("a quiet reef at noon")
    page.get_by_role("button", name=re.compile("password", re.IGNORECASE)).click()


def create_file(page: Page, folder: Path) -> Path:
    """On the export page: have the chosen file made, and download it under its own name."""
    page.get_by_role("button", name="Create file").click()
    link = page.locator("#exports a[download]").first
    expect(link).to_be_visible(timeout=60_000)
    with page.expect_download() as download:
        link.click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def take_screenshots(page: Page, name: str) -> None:
    """The page at 1440 and 390 pixels, light and dark, for a person to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width, height in ((1440, 900), (390, 844)):
            page.set_viewport_size({"width": width, "height": height})
            page.screenshot(path=SCREENSHOTS / f"{name}-{width}-{scheme}.png", full_page=width == 390)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1440, "height": 900})
