"""The installed program: what its wheel holds, what it requires, and that its command runs from any folder."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import pytest

from coral_site.command import ADMINISTRATION, COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("annotation", "coral", "coral_site", "mlcore")
#: Required without an import: Django, channels and Dramatiq load them by the names in the settings, transformers gguf.
BY_NAME = {"channels-redis", "django-axes", "django-dramatiq", "gguf", "psycopg", "whitenoise"}
#: Modules of the optional packages, which are imported only where a setting asks for them.
OF_EXTRAS = {"boto3", "botocore"}


@dataclass(frozen=True, slots=True)
class Installed:
    """The program installed from its wheel, apart from the checkout."""

    wheel: Path
    site: Path
    home: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CORAL_")}
        environment |= {"PYTHONPATH": str(self.site), "HOME": str(self.home)}
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        return subprocess.run(
            command, cwd=self.home, env=environment, capture_output=True, text=True, timeout=120
        )

    def coral(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(str(self.site / "bin" / "coral"), *arguments)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [
        *pip,
        "wheel",
        "--no-index",
        "--no-build-isolation",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("*.whl")
    site, home = folder / "site", folder / "home"
    home.mkdir()
    subprocess.run(
        [*pip, "install", "--no-index", "--no-deps", "--target", str(site), str(wheel)], check=True
    )
    return Installed(wheel, site, home)


def test_the_wheel_holds_code_templates_static_files_translations_and_samples(installed: Installed) -> None:
    expected = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".py", ".csv"}
    }
    for folder in ("locale", "static", "templates"):
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
        assert files
        expected |= {f"coral_site/assets/{path.relative_to(ROOT)}" for path in files}
    names = set(ZipFile(installed.wheel).namelist())
    assert expected <= names
    assert "coral_site/assets/requirements-models.lock" in names
    assert not [name for name in names if name.startswith(("tests/", "docs/", "templates/"))]


def test_the_command_lists_what_it_can_do_and_where_data_lie(installed: Installed) -> None:
    answer = installed.coral("--help")
    assert answer.returncode == 0, answer.stderr
    for name in [*COMMANDS, *ADMINISTRATION]:
        assert re.search(rf"^  {name} +[A-Z]", answer.stdout, re.MULTILINE), name
    assert f"Data folder: {installed.home / '.coral'}" in answer.stdout


def test_an_installed_program_passes_djangos_check(installed: Installed) -> None:
    answer = installed.coral("check")
    assert answer.returncode == 0, answer.stderr
    assert "no issues" in answer.stdout


def test_an_installed_program_finds_its_templates_and_translations(installed: Installed) -> None:
    code = """
import os; os.environ["DJANGO_SETTINGS_MODULE"] = "coral_site.settings"
import django; django.setup()
from django.contrib.staticfiles.finders import find
from django.template.loader import get_template
from django.utils.translation import gettext, override
print(get_template("base.html").origin, find("css/parts.css"), sep="\\n")
with override("zh-hans"): print(gettext("Projects"))
"""
    template, style, projects = installed.run(sys.executable, "-c", code).stdout.splitlines()
    assets = installed.site / "coral_site" / "assets"
    assert (template, style) == (f"{assets}/templates/base.html", f"{assets}/static/css/parts.css")
    assert projects == "项目"


def test_the_programs_own_processes_start_from_an_installation(installed: Installed) -> None:
    code = (
        "from coral_site.settings import COMMAND; import subprocess; subprocess.run([*COMMAND, '--version'])"
    )
    assert re.fullmatch(r"CORAL \d+\.\d+\.\d+\n", installed.run(sys.executable, "-c", code).stdout)


def test_an_unknown_command_and_a_bad_setting_get_a_sentence(installed: Installed) -> None:
    answer = installed.coral("run-round")
    assert answer.returncode == 1
    assert answer.stderr == (
        "There is no command “run-round”. Do you mean “run-rounds”? `coral help` lists the commands.\n"
    )
    code = "import os, sys; os.environ['CORAL_THREADS'] = 'two'; sys.argv = ['coral', 'up']\n"
    answer = installed.run(sys.executable, "-c", code + "from coral_site.command import main; main()")
    assert answer.stderr == "CORAL can't start. CORAL_THREADS is 'two'; it must be a whole number.\n"


def test_the_help_lists_the_applications_commands_and_no_others() -> None:
    commands = (ROOT / "annotation" / "management" / "commands").glob("[a-z]*.py")
    names = {path.stem.replace("_", "-") for path in commands}
    # makemessages replaces Django's own command for developers, whom CONTRIBUTING and the Makefile tell about it.
    assert names - {"makemessages"} == set(COMMANDS)


def test_required_packages_are_those_that_are_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = {_normal(re.split(r"[\[<>=]", line)[0]) for line in project["dependencies"]}
    distributions = packages_distributions()
    imported = {
        _normal(distributions[module][0])
        for module in _imported_modules()
        if module not in sys.stdlib_module_names and module not in PACKAGES and module not in OF_EXTRAS
    }
    assert required == imported | BY_NAME


def test_the_lock_pins_every_required_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime, development = _pinned("requirements.lock"), _pinned("requirements-dev.lock")
    assert {_normal(re.split(r"[\[<>=]", line)[0]) for line in project["project"]["dependencies"]} <= runtime
    assert {_normal(name) for name in project["dependency-groups"]["dev"]} <= development


def _imported_modules() -> set[str]:
    modules = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in _run_nodes(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    modules |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    modules.add(node.module.partition(".")[0])
    return modules


def _run_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker reads."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from _run_nodes(child)


def _pinned(lock: str) -> set[str]:
    lines = (ROOT / lock).read_text().splitlines()
    return {_normal(line.partition("==")[0]) for line in lines if "==" in line}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
