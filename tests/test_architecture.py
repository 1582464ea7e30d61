"""The shape of the code: the folders of the loop, who imports whom, and how long a line may be."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("annotation", "coral_site", "mlcore")
#: The steps of the loop, in the order of the data.
LOOP = ("project", "ingest", "label", "distill", "review", "measure", "iterate", "export")
LINE_CHARACTERS = 160


def folders(folder: str) -> set[str]:
    return {path.parent.name for path in (ROOT / folder).glob("*/__init__.py")}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


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


def test_no_modules_import_each_other() -> None:
    """Imports inside functions count; those for type checking are never run."""
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert sum(map(len, imports.values())) > 500
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as circle:
        pytest.fail(" imports ".join(reversed(circle.args[1])))


@pytest.mark.parametrize(("folder", "ending"), [("templates", "html"), ("static", "css"), ("static", "js")])
def test_lines_of_templates_styles_and_scripts_are_short(folder: str, ending: str) -> None:
    files = list((ROOT / folder).rglob(f"*.{ending}"))
    assert files
    wide = [
        f"{relative(path)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if len(line) > LINE_CHARACTERS
    ]
    assert not wide
