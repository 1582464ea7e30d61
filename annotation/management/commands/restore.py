"""``coral restore``: bring a backup into an empty data folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotation.errors import NotReadyError
from annotation.ops.backup import restore


class Command(BaseCommand):
    help = (
        "Bring back what `coral backup` wrote, into an empty data folder (CORAL_DATA_DIR) and an empty database. "
        "Then start CORAL as usual; runs that were at work go on."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="the backup")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        try:
            manifest = restore(file)
        except (NotReadyError, OSError) as error:
            raise CommandError(f"Nothing was restored. {error}") from error
        self.stdout.write(f"Restored the backup of {manifest['made'][:16]} (CORAL {manifest['version']}).")
