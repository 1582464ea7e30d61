"""The shape of the code: the folders of the loop, who imports whom, and how long modules, functions and lines may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("annotation", "coral", "coral_site", "mlcore")
#: The steps of the loop, in the order of the data.
LOOP = ("project", "ingest", "label", "distill", "review", "measure", "iterate", "export", "plan")
MODULE_LINES, TEST_MODULE_LINES, FUNCTION_LINES, LINE_CHARACTERS = 300, 400, 60, 160


def folders(folder: str) -> set[str]:
    return {path.parent.name for path in (ROOT / folder).glob("*/__init__.py")}


def modules(*packages: str) -> list[Path]:
    """The Python files of these packages, without the migrations, which nobody edits."""
    found = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    assert len(found) > 100
    return [path for path in found if path.parent.name != "migrations"]


def syntax(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


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
    assert folders("mlcore") & set(LOOP) == {"label", "distill", "measure", "plan"}


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


def test_modules_are_short() -> None:
    limits = dict.fromkeys(modules(*PACKAGES), MODULE_LINES) | dict.fromkeys(
        modules("tests"), TEST_MODULE_LINES
    )
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in limits}
    assert not {relative(path): count for path, count in lines.items() if count > limits[path]}


def test_functions_are_short() -> None:
    long = {}
    for path in modules(*PACKAGES, "tests"):
        for node in syntax(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long[f"{relative(path)}: {node.name}"] = lines
    assert not long


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


def test_no_module_uses_a_private_name_of_another() -> None:
    """``_meta`` is the one that Django documents."""
    private = []
    for path in modules(*PACKAGES, "tests"):
        nodes = list(syntax(path))
        imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and is_own(node.module)]
        names = {alias.asname or alias.name for node in imports for alias in node.names}
        used = [alias.name for node in imports for alias in node.names]
        used += [
            node.attr
            for node in nodes
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names
        ]
        private += [f"{relative(path)}: {name}" for name in used if is_private(name) and name != "_meta"]
    assert not private


def test_every_random_generator_is_given_its_seed() -> None:
    unseeded = [
        f"{relative(path)}:{node.lineno}"
        for path in modules(*PACKAGES, "tests")
        for node in syntax(path)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("default_rng")
        if not node.args and not node.keywords
    ]
    assert not unseeded


def is_own(module: str | None) -> bool:
    return (module or "").partition(".")[0] in {*PACKAGES, "tests"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")
