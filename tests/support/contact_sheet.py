"""Every page of the program, for looking at and for measuring."""

from __future__ import annotations

from dataclasses import dataclass

from playwright.sync_api import Browser, BrowserContext

from tests.support.program import Program

PASSWORD = "correct horse battery"  # what make_user gives
WIDTHS = {1440: 900, 390: 844}
THEMES = ("light", "dark")
LANGUAGES = ("en", "zh-hans")
#: Pages of a project that both models have judged.
PROJECT_PAGES = {
    "task": "configure/task/",
    "data": "configure/data/",
    "labels": "configure/labels/",
    "prompt": "configure/prompt/",
    "models": "configure/models/",
    "connections": "configure/connections/",
    "start": "configure/start/",
    "trial": "configure/trial/",
    "labeling": "labeling/",
    "filtering": "filtering/",
    "review": "review/",
    "focus": "focus/",
    "bulk": "review/bulk/?matching=1",
    "rounds": "rounds/",
    "accuracy": "accuracy/",
    "goal": "goal/",
    "certificate": "certificate/",
    "export": "export/",
    "members": "members/",
    "activity": "members/activity/",
    "guidelines": "members/guidelines/",
}
OTHER_PAGES = {"projects": "/", "new-project": "/projects/new/", "help": "/help/", "password": "/password/"}

MAKE = """
from pathlib import Path
from django.db import transaction
from django.contrib.auth.models import User
from annotation.pipeline.project.goal import set_goal
from tests.support.scene import make_scene
user = User.objects.create_superuser("anna", password={password!r})
with transaction.atomic():
    news = make_scene(Path({news!r}), name="News", task="topic", owner=user, rows={rows}, **{news_columns!r})
    table = make_scene(Path({table!r}), name="Records", task="tabular", owner=user, rows={rows}, **{table_columns!r})
    for project in (news, table):
        set_goal(project, user=user, target=0.95, minutes=None, autopilot=False)
print(news.pk, table.pk)
"""


@dataclass(frozen=True, slots=True)
class Look:
    """One way in which pages are looked at."""

    width: int
    theme: str
    language: str

    @property
    def name(self) -> str:
        return f"{self.width}-{self.theme}-{self.language}"


LOOKS = [Look(width, theme, language) for width in WIDTHS for theme in THEMES for language in LANGUAGES]


def pages_of(project: str) -> dict[str, str]:
    """The address of every page, by its name."""
    return OTHER_PAGES | {name: f"/projects/{project}/{path}" for name, path in PROJECT_PAGES.items()}


def sign_in(browser: Browser, program: Program, look: Look) -> BrowserContext:
    """A window in which Anna is signed in, that looks as asked for."""
    context = browser.new_context(
        viewport={"width": look.width, "height": WIDTHS[look.width]},
        color_scheme=look.theme,  # type: ignore[arg-type]
        locale="zh-CN" if look.language == "zh-hans" else "en",
    )
    page = context.new_page()
    page.goto(f"{program.address}/login/")
    page.locator("#id_username").fill("anna")
    page.locator("#id_password").fill(PASSWORD)
    page.locator("main button").click()
    page.wait_for_url(lambda url: "login" not in url)
    page.close()
    return context
