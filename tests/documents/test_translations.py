"""The Chinese texts: whole, with every placeholder, and compiled."""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from annotation.models import Project
from mlcore.prompting.tasks import TASKS

FOLDER = Path(settings.BASE_DIR) / "locale" / "zh_Hans" / "LC_MESSAGES"
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%%|\{\w*\}|</?\w+>")


def entries() -> Iterator[dict[str, str]]:
    """Every entry of the .po file but its header, with its comments under ``#``."""
    for block in (FOLDER / "django.po").read_text(encoding="utf-8").split("\n\n")[1:]:
        entry: dict[str, str] = {}
        name = "#"
        for line in block.strip().splitlines():
            if line.startswith("#"):
                entry["#"] = entry.get("#", "") + line
                continue
            start = re.match(r'(msgid_plural|msgid|msgstr)(?:\[0\])? (?=")', line)
            name, text = (start[1], line[start.end() :]) if start else (name, line)
            entry[name] = entry.get(name, "") + ast.literal_eval(text)
        yield entry


def test_every_text_is_translated() -> None:
    found = list(entries())
    assert len(found) > 700
    assert [entry["msgid"] for entry in found if not entry["msgstr"].strip()] == []
    assert [entry["msgid"] for entry in found if "fuzzy" in entry.get("#", "")] == []


def test_every_translation_keeps_its_placeholders() -> None:
    lost = [
        (entry["msgid"], entry["msgstr"])
        for entry in entries()
        if set(PLACEHOLDER.findall(entry.get("msgid_plural", entry["msgid"])))
        != set(PLACEHOLDER.findall(entry["msgstr"]))
    ]
    assert lost == []


def test_the_engines_words_on_each_task_are_translated() -> None:
    words = {text for task in TASKS.values() for text in (task.title, task.help_text)}
    assert words <= {entry["msgid"] for entry in entries()}


def test_a_project_can_have_every_task_of_the_engine() -> None:
    assert [str(title) for title in Project.TaskType.labels] == [task.title for task in TASKS.values()]
    assert Project.TaskType.values == list(TASKS)


def test_the_compiled_file_says_what_the_source_says() -> None:
    with (FOLDER / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for entry in entries():
        shown = (
            compiled.ngettext(entry["msgid"], entry["msgid_plural"], 2)
            if "msgid_plural" in entry
            else compiled.gettext(entry["msgid"])
        )
        assert shown == entry["msgstr"]


@pytest.mark.django_db
def test_a_page_speaks_the_language_of_the_browser_until_another_is_chosen() -> None:
    client = Client(headers={"accept-language": "zh-CN,zh;q=0.9,en;q=0.5"})
    html = client.get("/login/").content.decode()
    assert '<html lang="zh-hans">' in html
    assert "登录" in html
    assert client.post("/language/", {"language": "en"}).status_code == 302
    assert '<html lang="en">' in client.get("/login/").content.decode()
