"""Photograph every page: ``python -m tests.documents.contact_sheet FOLDER [--data DIR]``.

Two widths, two themes, two languages, into a folder that is not committed, with an ``index.html`` that shows all of it.
Starts the program with two projects that look as after a round.
"""

from __future__ import annotations

import argparse
import os
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import sync_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.support.contact_sheet import LOOKS, MAKE, PASSWORD, pages_of, sign_in
from tests.support.program import Program

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coral_site.settings")
ROWS = 400
NEWS = {"label_column": "label", "content": ["text"]}
RECORDS = {
    "label_column": "income",
    "content": ["age", "workclass", "education", "marital_status", "occupation", "relationship"],
}


def make_scenes(program: Program, data: Path, *, rows: int = ROWS) -> tuple[str, str]:
    """The numbers of a project of news and one of records."""
    made = program.execute(
        MAKE.format(
            password=PASSWORD,
            rows=rows,
            news=str(data / "agnews.csv"),
            news_columns=NEWS,
            table=str(data / "tab_adult.csv"),
            table_columns=RECORDS,
        ),
        seconds=300,
    )
    news, table = made.split()
    return news, table


def photograph_all(folder: Path, data: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory() as place,
        Program(Path(place), CORAL_LEASE_SECONDS="30") as program,
        sync_playwright() as playwright,
    ):
        program.start()
        news, table = make_scenes(program, data)
        pages = pages_of(news) | {"review-table": f"/projects/{table}/review/"}
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for look in LOOKS:
            context = sign_in(browser, program, look)
            page = context.new_page()
            for name, path in pages.items():
                page.goto(program.address + path)
                page.wait_for_load_state("networkidle")
                page.screenshot(path=folder / f"{name}-{look.name}.png")
            context.close()
        browser.close()
    write_index(folder, list(pages))


def write_index(folder: Path, names: list[str]) -> None:
    lines = [
        f"<h2>{escape(name)}</h2>"
        + "".join(
            f'<a href="{name}-{look.name}.png"><img src="{name}-{look.name}.png"></a>' for look in LOOKS
        )
        for name in names
    ]
    style = "<style>img{height:300px;margin:4px;border:1px solid #999}</style>"
    (folder / "index.html").write_text(f"<!doctype html><meta charset=utf-8>{style}{''.join(lines)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the corpora")
    chosen = parser.parse_args()
    photograph_all(chosen.folder, chosen.data)
