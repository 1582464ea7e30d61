"""Write the pages of docs/ that are made from the code: ``python -m tests.documents.generate``.

What a page holds above its marker is written by hand and kept; the rest is replaced.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coral_site.settings")
django.setup()

import mlcore  # noqa: E402
from coral_site.command import COMMANDS, CommandLine  # noqa: E402
from coral_site.env import SETTINGS  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
MARKER = "<!-- Made from the code by “make docs”. Edit the code, not what follows. -->"


def settings_page() -> Iterator[str]:
    """A table of the environment variables."""
    yield "| variable | default | meaning |"
    yield "|---|---|---|"
    for setting in SETTINGS:
        yield f"| `{setting.name}` | {setting.default} | {setting.meaning} |"


def commands_page() -> Iterator[str]:
    """The help text of every command."""
    os.environ["COLUMNS"] = "100"  # argparse wraps by it
    for name in COMMANDS:
        parser = CommandLine(["coral"]).fetch_command(name).create_parser("coral", name)
        yield from (f"## coral {name}", "", "```", parser.format_help().rstrip(), "```", "")


def reference_page() -> Iterator[str]:
    """What ``mlcore`` exports, in full, and a line for each of its modules."""
    for name in getattr(mlcore, "__all__", ()):
        yield from _entry(name, getattr(mlcore, name))
    yield from ("## Modules", "", "| module | what it holds |", "|---|---|")
    for module in pkgutil.walk_packages(mlcore.__path__, "mlcore."):
        doc = inspect.getdoc(importlib.import_module(module.name))
        if doc and not module.ispkg:
            yield f"| `{module.name}` | {_markdown(_first_sentence(doc))} |"


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "settings.md": settings_page,
    "commands.md": commands_page,
    "api.md": reference_page,
}


def page(name: str) -> str:
    """The page as it should be: its part by hand, the marker, the part from the code."""
    by_hand, _marker, _made = (ROOT / "docs" / name).read_text(encoding="utf-8").partition(MARKER)
    return f"{by_hand}{MARKER}\n\n" + "\n".join(PAGES[name]()).rstrip() + "\n"


def _entry(name: str, thing: object) -> Iterator[str]:
    yield from (f"## {name}", "")
    if callable(thing):
        yield from ("```python", _signature(name, thing), "```", "")
    yield from _sections(inspect.getdoc(thing) or "")
    yield ""


def _signature(name: str, thing: Callable[..., object]) -> str:
    """The call with one parameter a line where it is long."""
    signature = inspect.signature(thing)
    parameters = []
    for parameter in signature.parameters.values():
        default = parameter.default
        if dataclasses.is_dataclass(default):
            parameter = parameter.replace(default=_Shown(f"{type(default).__name__}()"))
        elif inspect.isfunction(default):  # its own text holds an address, which is another in every process
            parameter = parameter.replace(default=_Shown("..."))
        parameters.append(str(parameter).replace("'", ""))
    if any(parameter.kind is parameter.KEYWORD_ONLY for parameter in signature.parameters.values()):
        first = next(
            index
            for index, parameter in enumerate(signature.parameters.values())
            if parameter.kind is parameter.KEYWORD_ONLY
        )
        parameters.insert(first, "*")
    annotation = signature.return_annotation
    result = "" if annotation is signature.empty or inspect.isclass(thing) else f" -> {annotation}"
    line = f"{name}({', '.join(parameters)}){result}"
    if len(line) <= 100:
        return line
    return f"{name}(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + f"){result}"


class _Shown:
    """A default that is shown as it would be written."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _sections(doc: str) -> Iterator[str]:
    """A docstring as Markdown: its sections as lists."""
    for line in doc.splitlines():
        if re.fullmatch(r"(Args|Attributes|Returns|Raises|Yields):", line):
            yield from (f"**{line.rstrip(':')}**", "")
        elif match := re.match(r"    (\w[\w, ]*): (.*)", line):
            yield f"- `{match[1]}`: {_markdown(match[2])}"
        elif line.startswith("    "):
            yield f"  {_markdown(line.strip())}"
        else:
            yield _markdown(line)


def _markdown(text: str) -> str:
    return re.sub(r"(?::\w+:)?`{1,2}~?([^`]+)`{1,2}", r"`\1`", text)


def _first_sentence(doc: str) -> str:
    return re.split(r"(?<=[.?!])\s", " ".join(doc.split("\n\n")[0].split()))[0].replace("|", "\\|")


def main() -> None:
    for name in PAGES:
        (ROOT / "docs" / name).write_text(page(name), encoding="utf-8")


if __name__ == "__main__":
    main()
