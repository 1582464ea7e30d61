"""Tasks that people annotated in Label Studio, from its export to a file that it imports, with one label corrected here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import create_file, log_in, take_screenshots
from tests.support.program import Program

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

REMARKS = {
    "praise": ["The soup was hot.", "Kind people, good bread.", "We'd go again.", "Best tea in town."],
    "complaint": ["Cold soup.", "We waited for an hour.", "The bill was wrong.", "Too loud to talk."],
    "question": ["Are you open on Mondays?", "Is there a ramp?", "Do you take cards?", "Where is it?"],
}
TASKS = [
    (text, label)
    for texts in zip(*REMARKS.values(), strict=True)
    for text, label in zip(texts, REMARKS, strict=True)
]
WRONG = 4  # the row that is corrected, counted from 1


def test_annotations_of_label_studio_come_in_are_corrected_and_go_back(
    page: Page, program: Program, tmp_path: Path
) -> None:
    path = tmp_path / "project-7-at-2026-11-30.json"
    path.write_text(json.dumps([task(*each) for each in enumerate(TASKS, start=1)]), encoding="utf-8")
    log_in(page, program)
    import_tasks(page, path)
    take_annotations(page)
    correct(page, WRONG, "praise")
    check_tasks(export_tasks(page, tmp_path))


def task(number: int, remark: tuple[str, str]) -> dict[str, Any]:
    """A task as Label Studio writes it; one annotation is wrong."""
    text, label = remark
    given = "question" if number == WRONG else label
    choice = {"id": f"r{number}", "from_name": "feeling", "to_name": "text", "type": "choices"}
    result = [{**choice, "origin": "manual", "value": {"choices": [given]}}]
    return {
        "id": 100 + number,
        "annotations": [
            {
                "id": 200 + number,
                "completed_by": 1,
                "result": result,
                "was_cancelled": False,
                "ground_truth": False,
                "created_at": f"2026-11-29T10:{number:02}:00.000000Z",
                "updated_at": f"2026-11-29T10:{number:02}:30.000000Z",
                "lead_time": 4.2,
            }
        ],
        "predictions": [],
        "data": {"text": text, "table": f"T{number % 3}"},
        "meta": {},
        "project": 7,
    }


def import_tasks(page: Page, path: Path) -> None:
    page.get_by_role("link", name="New project").first.click()
    page.get_by_label("Project name").fill("Remarks")
    page.get_by_label("Topic classification").check()
    page.locator("main button.primary").click()
    page.locator("input[type=file]").set_input_files(path)
    page.get_by_role("button", name="Upload and preview").click()
    names = page.locator("table.preview thead th")
    expect(names).to_have_text(["text", "table", "feeling", "annotator", "annotated_at"])
    take_screenshots(page, "label-studio-columns")
    expect(page.get_by_role("group", name="Content").get_by_label("text", exact=True)).to_be_checked()
    expect(page.get_by_label("Reference label (optional)")).to_have_value("feeling")
    expect(page.locator("#notice")).to_be_hidden()  # nothing has run in this project
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_role("heading", name="Labels")).to_be_visible(timeout=30_000)
    fields = page.locator(".label-line input[name$='-name']")
    assert {field.input_value() for field in fields.all()} - {""} == set(REMARKS)
    page.get_by_role("button", name="Keep the default prompt, choose the models").click()
    page.get_by_role("button", name="Save and continue to the check").click()


def take_annotations(page: Page) -> None:
    """The labels count as decided by people: no model is asked."""
    page.get_by_text("Use labels that exist already").click()
    expect(
        page.get_by_role("group", name="Columns with labels").get_by_label("feeling", exact=True)
    ).to_be_checked()
    page.get_by_label("corrections by people, which count as decided").check()
    page.get_by_label("By whom (optional)").select_option("annotator")
    take_screenshots(page, "label-studio-labels")
    page.get_by_role("button", name="Take these labels").click()
    expect(page.locator(".messages")).to_contain_text("12 rows are corrected")


def correct(page: Page, number: int, label: str) -> None:
    expect(page.locator("tr[id^=sample-]")).to_have_count(len(TASKS))
    select = page.get_by_label(f"Label of row {number}", exact=True)
    expect(select.locator("option:checked")).to_have_text("question")
    select.select_option(label=label)
    expect(page.locator("tr", has=select).locator(".saved")).to_contain_text("saved")
    take_screenshots(page, "label-studio-corrected")


def export_tasks(page: Page, tmp_path: Path) -> list[dict[str, Any]]:
    page.get_by_role("link", name="Download the result").click()
    page.get_by_label("Label Studio (JSON)", exact=True).check()
    path = create_file(page, tmp_path)
    assert path.name.endswith(".label-studio.json")
    tasks: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return tasks


def check_tasks(tasks: list[dict[str, Any]]) -> None:
    """The corrected row has the new label, and every other one what it came with."""
    assert [(each["data"]["text"], chosen(each)) for each in tasks] == TASKS
    assert [each["data"]["table"] for each in tasks] == [f"T{number % 3}" for number in range(1, 13)]
    came_with = [each["meta"]["coral"]["feeling"] for each in tasks]
    assert came_with[WRONG - 1] == "question"
    assert [label for number, label in enumerate(came_with, start=1) if number != WRONG] == [
        label for number, (_text, label) in enumerate(TASKS, start=1) if number != WRONG
    ]


def chosen(task: dict[str, Any]) -> str:
    """What the task's only annotation says."""
    (annotation,) = task["annotations"]
    (result,) = annotation["result"]
    (label,) = result["value"]["choices"]
    return str(label)
