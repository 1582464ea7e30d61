"""Connect to a server of language models: from an empty project to the first label, and what is said where it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import log_in, take_screenshots
from tests.support.fake_llm import Call, FakeLlm, Step, fails, fake_llm, says
from tests.support.program import Program

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

SAMPLE = Path(__file__).resolve().parents[2] / "annotation" / "samples" / "customer_messages.csv"
WAIT_MS = 120_000
MOST_CLICKS = 12


def refuses(status: int, **error: str) -> Step:
    return fails(status, json.dumps({"error": error}))


FAILURES = {
    "token": (refuses(401, message="Incorrect API key provided"), "The server refused the token (401)"),
    "model": (
        refuses(404, code="model_not_found", message="The model m does not exist"),
        "The server has no such model (404)",
    ),
    "quota": (
        refuses(429, code="insufficient_quota", message="You exceeded your current quota"),
        "The account has no credit or quota left (429)",
    ),
    "filter": (
        refuses(400, code="content_filter", message="The prompt triggered the content policy"),
        "content filter refused this row",
    ),
}


def answers(_number: int, call: Call) -> Step:
    if call.path.endswith("/models"):
        return Step(body=json.dumps({"data": [{"id": "qwen3-8b"}, {"id": "qwen3-32b"}]}).encode())
    asked = '"confidence"' in call.prompt
    return says(json.dumps({"label": "delivery"} | ({"confidence": 88} if asked else {})))


def test_a_person_connects_in_few_clicks_and_reads_what_fails(page: Page, program: Program) -> None:
    log_in(page, program)
    clicks = label_a_first_row(page)
    assert len(clicks) <= MOST_CLICKS, clicks
    page.goto(program.address)
    read_what_fails(page)


def label_a_first_row(page: Page) -> list[str]:
    """From an empty list of projects to the first label; returns what was clicked."""
    clicks: list[str] = []

    def click(target: Locator) -> None:
        clicks.append(str(target))
        target.click()

    with fake_llm(answers) as server:
        click(page.get_by_role("link", name="New project").first)
        page.get_by_label("Project name").fill("Customer messages")
        click(page.locator("main button.primary"))
        page.locator("input[type=file]").set_input_files(SAMPLE)
        click(page.get_by_role("button", name="Upload and preview"))
        click(page.get_by_role("button", name="Import", exact=True))
        page.wait_for_url("**/configure/labels/")
        click(page.get_by_role("button", name="Save and continue to the prompt"))
        click(page.get_by_role("button", name="Save and continue to the models"))
        click(page.get_by_role("button", name="llama.cpp"))
        take_screenshots(page, "connection-preset")
        connect(page, server)
        click(page.get_by_role("button", name="Test connection"))
        expect(page.locator("#connection")).to_contain_text("works", timeout=WAIT_MS)
        take_screenshots(page, "connection-works")
        click(page.get_by_role("button", name="Save and continue to the check").last)
        take_screenshots(page, "connection-check")
        click(page.get_by_role("button", name="Start LLM labeling"))
        expect(page.locator("tr[id^=sample-] .chip").first).to_be_visible(timeout=WAIT_MS)
    return clicks


def connect(page: Page, server: FakeLlm) -> None:
    page.get_by_label("Address").fill(f"{server.url}/v1")
    page.get_by_label("Model name on that server").fill("qwen3-8b")


def read_what_fails(page: Page) -> None:
    """Each failure is said in a sentence, with the server's own words where it has any."""
    page.get_by_role("link", name="New project").first.click()
    page.get_by_label("Project name").fill("Failures")
    page.locator("main button.primary").click()
    page.goto(page.url.replace("/data/", "/models/"))
    page.get_by_role("button", name="llama.cpp").click()
    for name, (step, sentence) in FAILURES.items():
        with fake_llm(step) as server:
            connect(page, server)
            page.get_by_role("button", name="Test connection").click()
            expect(page.locator("#connection")).to_contain_text(sentence, timeout=WAIT_MS)
            expect(page.locator("#connection")).to_contain_text("The server said: “")
            take_screenshots(page, f"connection-{name}")
    connect(page, server)
    page.get_by_role("button", name="Test connection").click()
    expect(page.locator("#connection")).to_contain_text("can't be reached", timeout=WAIT_MS)
    take_screenshots(page, "connection-unreachable")
    page.get_by_role("button", name="DeepSeek").click()
    expect(page.get_by_text("The host “api.deepseek.com” is not allowed.")).to_be_visible()
    take_screenshots(page, "connection-host")
