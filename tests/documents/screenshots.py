"""Take the pictures of the documents: ``python -m tests.documents.screenshots [DATA_FOLDER]``.

Starts the program with the sample project, answers a hundred random rows by its reference labels, and photographs five
pages. A data folder that an earlier call has filled saves the two rounds of labeling.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.support.program import Program
from tests.support.services import wait_for

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coral_site.settings")
IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
SIZE = {"width": 1440, "height": 760}
DEMO_SECONDS = 1200
USER, PASSWORD = "anna", "a quiet reef at noon"

PREPARE = f"""
from django.contrib.auth.models import User
from annotation.models import AuditDraw, Correction, Membership, Project
from annotation.pipeline.measure.draw_sample import draw_sample
from annotation.pipeline.review.corrections import correct_sample
user = User.objects.filter(username={USER!r}).first() or User.objects.create_superuser({USER!r}, password={PASSWORD!r})
project = Project.objects.get(name="Customer messages")
Membership.objects.get_or_create(project=project, user=user, defaults={{"role": "owner"}})
if not AuditDraw.objects.filter(project=project).exists():
    draw_sample(project, rows=100, user=user, seed=0)
    for draw in AuditDraw.objects.filter(project=project).select_related("sample"):
        correct_sample(
            draw.sample_id, label_id=draw.sample.reference_id, user=user, because=Correction.Because.AUDIT, seconds=4
        )
print(project.pk)
"""
#: Each picture's page, and what is scrolled to the top of it.
PAGES = {
    "prompt": ("configure/prompt/", ""),
    "training": ("filtering/", "#plots"),
    "review": ("review/?show=inconsistent", ""),
    "focus": ("focus/", ""),
    "accuracy": ("accuracy/", ""),
}


def photograph(page: Page, project: str) -> None:
    for name, (path, top) in PAGES.items():
        response = page.goto(f"{project}{path}")
        assert response is not None
        assert response.ok, path
        page.wait_for_load_state("networkidle")
        if top:
            page.locator(top).first.evaluate("element => element.scrollIntoView()")
        page.screenshot(path=IMAGES / f"{name}.png")


def take_all(folder: Path) -> None:
    with Program(folder, CORAL_LEASE_SECONDS="30") as program, sync_playwright() as playwright:
        program.start("--demo")
        wait_for(lambda: "Excel file:" in program.log, seconds=DEMO_SECONDS, what="the sample is labeled")
        number = program.execute(PREPARE)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport=SIZE)  # type: ignore[arg-type]
        page.goto(f"{program.address}/login/")
        page.get_by_label("Username").fill(USER)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(lambda url: "login" not in url)
        photograph(page, f"{program.address}/projects/{number}/")
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        take_all(Path(sys.argv[1]))
    else:
        with TemporaryDirectory() as folder:
            take_all(Path(folder))
