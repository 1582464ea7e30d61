from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / ".github").rglob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_between_the_documents_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _hash, anchor = target.partition("#")
        linked = document.parent / path if path else document
        assert linked.exists(), target
        assert not anchor or anchor in _anchors(linked), target


def test_every_page_of_the_documentation_is_listed() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages <= set(re.findall(r"\]\(([\w.-]+)\)", index))


def test_every_experiment_is_linked_from_the_summary() -> None:
    summary = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    experiments = {f"benchmarks/{path.name}" for path in (ROOT / "docs" / "benchmarks").glob("*.md")}
    assert experiments == set(re.findall(r"\]\((benchmarks/[\w.-]+)\)", summary))


def test_every_picture_is_small_and_shown() -> None:
    shown = {
        name
        for document in DOCUMENTS
        for name in re.findall(r"images/([\w-]+\.png)\)", document.read_text(encoding="utf-8"))
    }
    pictures = list((ROOT / "docs" / "images").iterdir())
    assert {path.name for path in pictures} == shown
    assert all(path.stat().st_size < 200_000 for path in pictures)


def _anchors(page: Path) -> Iterator[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    for heading in re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
