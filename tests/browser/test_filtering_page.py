"""The SLM page in a browser: it follows a training, and its map and its pairs lead to rows."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import log_in, take_screenshots
from tests.support.program import Program

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

SEED = """
from django.contrib.auth.models import User
from annotation.models import Stage
from tests.support.factories import make_project
from tests.support.pages import judge_rows
project = make_project(rows=60, owner=User.objects.get(username="admin"))
judge_rows(project)
stage = project.stages.get(kind="slm")
Stage.objects.filter(pk=stage.pk).update(status="running", phase="warm-up", epoch=1, epochs=3, done=20)
print(project.pk, stage.pk)
"""
EPOCH = {"loss": 0.5, "loss_unlabelled": 0.0, "clean_share": 0.8, "phase": "robust"}
FINISHED = {
    "history": [EPOCH | {"epoch": number, "balance": [0.5, 0.5], "clean_balance": [0.45, 0.55]} for number in (1, 2, 3)],
    "stopped": "All 3 epochs were trained.",
    "warnings": [],
    "evidence": {"student_right": 0.9, "contradicted_share": 0.3, "teacher_wrong_when_contradicted": 0.6},
    "confusion": [[20, 10], [10, 20]],
    "unreadable": [0, 0],
    "loss_histogram": {
        "edges": [0.0, 0.5, 1.0, 1.5],
        "parts": [
            {"label": place, "rows": 30, "counts": [20, 4, 6], "clean": [21, 2, 0.1], "noisy": [0.5, 2, 5],
             "boundary": 0.9, "fallback": ""}
            for place in (0, 1)
        ],
    },
}  # fmt: skip


def update(program: Program, stage: str, **changed: object) -> None:
    values = json.dumps(changed)
    program.execute(
        f"import json\nfrom annotation.models import Stage\nStage.objects.filter(pk={stage}).update(**json.loads({values!r}))"
    )


def test_the_page_follows_a_training_and_leads_to_its_rows(page: Page, program: Program) -> None:
    log_in(page, program)
    project, stage = program.execute(SEED).split()
    page.goto(f"{program.address}/projects/{project}/filtering/")
    follow_the_training(page, program, stage)
    take_screenshots(page, "filtering-report")
    look_at_one_label(page)
    open_a_row_from_the_map(page)
    open_a_row_by_keyboard(page)
    go_from_a_pair_to_its_rows(page)
    assert page.url.startswith(f"{program.address}/projects/{project}/review/?")


def follow_the_training(page: Page, program: Program, stage: str) -> None:
    """Epoch after epoch in the same canvas, then the report, all without a reload."""
    curves = page.locator("[data-plot=epochs]")
    expect(page.locator("[data-epochs-text]")).to_contain_text("Epoch 1:")
    curves.evaluate("canvas => { canvas.kept = true; }")
    update(program, stage, epoch=2, done=40, detail={"history": FINISHED["history"][:2]})  # type: ignore[index]
    expect(page.locator("[data-epochs-text]")).to_contain_text("Epoch 2:", timeout=20_000)
    expect(page.locator("[data-losses-text]")).to_contain_text("appears when training is done")
    update(program, stage, status="done", epoch=3, done=60, detail=FINISHED)
    expect(page.get_by_role("heading", name="LLM vs. SLM")).to_be_visible(timeout=20_000)
    expect(page.locator("[data-losses-text]")).to_contain_text("two Gaussians")
    expect(page.locator("[data-points-text]")).to_contain_text("60 rows; neighbours look similar")
    assert curves.evaluate("canvas => canvas.kept"), "the curves were not drawn anew"


def look_at_one_label(page: Page) -> None:
    page.locator("[data-loss-choice]").select_option("negative")
    expect(page.locator("[data-losses-text]")).to_contain_text("Up to a loss of 0.90")
    kinds = page.locator("[data-plot=losses]").evaluate(
        "canvas => Chart.getChart(canvas).data.datasets.map((set) => set.type)"
    )
    assert kinds == ["bar", "line", "line"], "bars of rows under two curves"


def open_a_row_from_the_map(page: Page) -> None:
    canvas = page.locator("[data-plot=points]")
    canvas.scroll_into_view_if_needed()
    place = canvas.evaluate(
        "canvas => { const chart = Chart.getChart(canvas);"
        " const dot = chart.getDatasetMeta(1).data.at(-1); return [dot.x, dot.y, dot.$context.raw.number]; }"
    )
    canvas.click(position={"x": place[0], "y": place[1]})
    expect(page.locator("tr.opened td.pos")).to_have_text(str(place[2]))


def open_a_row_by_keyboard(page: Page) -> None:
    canvas = page.locator("[data-plot=points]")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    said = page.locator("[data-map-said]").inner_text()
    page.keyboard.press("Enter")
    number = re.findall(r"\d+", said)[0]
    expect(page.locator("tr.opened td.pos")).to_have_text(number)
    expect(page.locator("tr.opened")).to_be_focused()


def go_from_a_pair_to_its_rows(page: Page) -> None:
    page.get_by_role("link", name="LLM positive, SLM negative").click()
    expect(page.locator("tr[id^=sample-]")).to_have_count(10)
    expect(page.locator("tr[id^=sample-]").first.locator("td[data-l=LLM]")).to_contain_text("positive")
