"""The shape of the code: the folders of the loop."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: The steps of the loop, in the order of the data.
LOOP = ("project", "ingest", "label", "distill", "review", "measure", "iterate", "export")


def folders(folder: str) -> set[str]:
    return {path.parent.name for path in (ROOT / folder).glob("*/__init__.py")}


def test_the_pipeline_is_the_loop() -> None:
    assert folders("annotation/pipeline") == set(LOOP)
    assert {path.name for path in (ROOT / "annotation/pipeline").glob("*.py")} == {
        "__init__.py",
        "engine_rows.py",
    }


def test_the_pages_lie_in_the_steps_of_the_loop() -> None:
    assert folders("annotation/views") == set(LOOP)


def test_the_engines_steps_have_the_names_of_the_loop() -> None:
    assert folders("mlcore") & set(LOOP) == {"label", "distill", "measure"}


def test_few_modules_lie_loose_in_the_application() -> None:
    assert len(list((ROOT / "annotation").glob("*.py"))) <= 10
