"""``coral backup``: everything that can't be made again, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotation.errors import NotReadyError
from annotation.ops.backup import back_up


class Command(BaseCommand):
    help = (
        "Write the database, uploaded files and models to one file, also while CORAL is at work. "
        "`coral restore` brings it back. For example: coral backup /srv/backup/coral.tar"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="the file to write; an old one of that name is replaced")
        parser.add_argument(
            "--keys",
            action="store_true",
            help="also the keys that decrypt stored API tokens; keep such a file as safe as the tokens",
        )

    def handle(self, *args: Any, file: Path, keys: bool, **options: Any) -> None:
        try:
            size = back_up(file, with_keys=keys)
        except (NotReadyError, OSError) as error:
            raise CommandError(f"The backup was not written. {error}") from error
        self.stdout.write(f"{file}: {size / 2**20:,.1f} MB.")
        if not keys:
            self.stdout.write(
                "The keys are not in it: without token.key, API tokens are entered anew after a restore."
            )
