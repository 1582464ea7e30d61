"""The ``coral`` command: CORAL's own commands, and beside them Django's for administrators."""

from __future__ import annotations

import os
import sys
from difflib import get_close_matches

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import ManagementUtility, get_commands
from django.core.management.base import BaseCommand

from annotation import __version__

COMMANDS = {
    "up": "Start the program: web pages, workers and a private message broker.",
    "demo": "Label a sample of 400 customer messages and write its Excel file.",
    "run-rounds": "Label a file without the browser, from import to Excel file.",
    "import": "Read files into a project.",
    "export": "Write a project's rows and labels to a file.",
    "predict": "Label a file with a kept small model, without a language model.",
    "push": "Push a project's kept model or labelled rows to the Hugging Face hub, or write their folder.",
    "install-models": "Install the small embedded models.",
    "backup": "Write everything that can't be made again to one file.",
    "restore": "Bring a backup into an empty data folder.",
    "web": "Serve the pages only.",
    "worker": "Work on queued stages only.",
}
ADMINISTRATION = {
    "createsuperuser": "Make an administrator's account.",
    "changepassword": "Give an account another password.",
    "migrate": "Bring the database up to date; `coral up` does it by itself.",
    "check": "Look for errors in the settings; with --deploy, for what a public site lacks.",
}
#: Django's options of every command, which tell a user of CORAL nothing.
DJANGO_OPTIONS = frozenset(
    [
        "--version",
        "--verbosity",
        "--settings",
        "--pythonpath",
        "--traceback",
        "--no-color",
        "--force-color",
        "--skip-checks",
    ]
)


class CommandLine(ManagementUtility):
    """Django's command line with names that have hyphens, and with help about CORAL."""

    def fetch_command(self, subcommand: str) -> BaseCommand:
        name = subcommand.replace("-", "_")
        if name not in get_commands():
            near = get_close_matches(subcommand, [*COMMANDS, *ADMINISTRATION])
            hint = f" Do you mean “{near[0]}”?" if near else ""
            sys.exit(f"There is no command “{subcommand}”.{hint} `{self.prog_name} help` lists the commands.")
        command = super().fetch_command(name)
        command.suppressed_base_arguments = set(DJANGO_OPTIONS)
        return command

    def main_help_text(self, commands_only: bool = False) -> str:
        if commands_only:
            return "\n".join([*COMMANDS, *ADMINISTRATION])
        folder = settings.DATA_DIR
        return "\n".join(
            [
                f"CORAL {__version__} labels a corpus with a language model, a small model and a little human time.",
                "",
                f"Usage: {self.prog_name} COMMAND [options]",
                "",
                *_lines(COMMANDS),
                "",
                "Administration (every other command of Django works, too):",
                *_lines(ADMINISTRATION),
                "",
                f"`{self.prog_name} COMMAND --help` lists the options of a command.",
                f"Data folder: {folder} (CORAL_DATA_DIR names another one).",
            ]
        )


def _lines(commands: dict[str, str]) -> list[str]:
    return [f"  {name:<16} {summary}" for name, summary in commands.items()]


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coral_site.settings")
    # Threads that wait for each other spin; beside other work they spin in each other's way (docs/benchmarks.md). It is
    # read when torch is loaded, so it stands here, before anything is.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    program, *arguments = sys.argv
    if arguments in (["--version"], ["version"]):
        print(f"CORAL {__version__}")
        return
    if program.endswith("__main__.py"):
        program = "coral"
    try:
        _ = settings.DATA_DIR  # a bad setting is told before any command
        CommandLine([program, *arguments]).execute()
    except ImproperlyConfigured as error:
        sys.exit(f"CORAL can't start. {error}")
