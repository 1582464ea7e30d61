"""People with a project whose rows both models have judged, in a running program, and their browsers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page

from tests.support.program import Program

PASSWORD = "correct horse battery"  # what make_user gives

MAKE = """
from django.db import transaction
from annotation.models import Membership
from tests.support.factories import make_project, make_user
from tests.support.pages import judge_rows
with transaction.atomic():
    project = make_project(rows={rows}, owner=make_user("{prefix}anna"))
    judge_rows(project)
    for name, role in (("{prefix}ben", "reviewer"), ("{prefix}vera", "viewer")):
        Membership.objects.create(project=project, user=make_user(name), role=role)
print(project.pk)
"""


def make_review(program: Program, *, rows: int = 60, prefix: str = "") -> str:
    """A project with Anna as its owner, Ben as a reviewer and Vera as a viewer; returns its address."""
    return f"{program.address}/projects/{program.execute(MAKE.format(rows=rows, prefix=prefix))}/"


@contextmanager
def browser_of(browser: Browser, program: Program, name: str, **options: Any) -> Iterator[BrowserContext]:
    """A browser window of its own in which this person is signed in."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, **options)
    page = context.new_page()
    page.goto(f"{program.address}/login/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(lambda url: "login" not in url)
    page.close()
    yield context
    context.close()


def row_number(page: Page) -> str:
    """The number of the row that is shown."""
    return page.locator(".focus-row.current").get_attribute("data-number") or ""


def answers(program: Program, project: str) -> list[tuple[Any, ...]]:
    """What was answered in the focus view and stands: row number, label, user."""
    return program.query(f"""
        SELECT s.position + 1, l.name, u.username FROM annotation_correction c
        JOIN annotation_sample s ON s.id = c.sample_id JOIN annotation_label l ON l.id = c.label_id
        JOIN auth_user u ON u.id = c.user_id
        WHERE s.project_id = {project.rstrip("/").rpartition("/")[2]} AND c.undoes_id IS NULL
        AND NOT EXISTS (SELECT 1 FROM annotation_correction x WHERE x.undoes_id = c.id) ORDER BY c.id""")
