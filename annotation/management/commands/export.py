"""``coral export``: a project's rows into a file, without a browser."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from annotation.errors import AnnotationError
from annotation.management.console import INTERRUPTED
from annotation.models import Project
from annotation.pipeline.export import run_export
from annotation.pipeline.export.rows import Selection


class Command(BaseCommand):
    help = (
        "Write a project's rows, with their labels, to an Excel, CSV, JSON Lines or Parquet file, or to one of another annotation tool. "
        "For example: coral export 3 letters.xlsx --filter show=wrong"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "project", type=int, help="the project's number, as it stands in its address in the browser"
        )
        parser.add_argument(
            "file", type=Path, help=f"the file to write; its ending decides: {', '.join(run_export.WRITERS)}"
        )
        parser.add_argument(
            "--filter",
            default="",
            metavar="QUERY",
            help="only these rows: what stands after the question mark in the table's address, such as show=wrong",
        )
        parser.add_argument(
            "--certainty",
            type=float,
            metavar="PERCENT",
            help="only rows whose label is right with a probability of at least this",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        project = Project.objects.filter(pk=options["project"]).first()
        if project is None:
            raise CommandError(
                f"There is no project {options['project']}. The number stands in its address in the browser."
            )
        write = run_export.writer_of(path)
        if write is None:
            raise CommandError(
                f"{path.name} must end in one of: {', '.join('.' + name for name in run_export.WRITERS)}."
            )
        percent = options["certainty"]
        try:
            selection = Selection.of(
                project, query=options["filter"], certainty=None if percent is None else percent / 100
            )
        except AnnotationError as error:
            raise CommandError(str(error)) from error
        try:
            # Beside the file, so that it is in its place at once when it is whole.
            with (
                TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as working,
                tqdm(total=selection.rows(project).count(), unit=" rows", disable=None) as bar,
            ):
                part = Path(working) / path.name
                rows = write(
                    project, part, selection=selection, on_progress=lambda done: bar.update(done - bar.n)
                )
                part.replace(path)
        except KeyboardInterrupt:
            raise CommandError("Stopped; no file was written.", returncode=INTERRUPTED) from None
        except OSError as error:
            raise CommandError(f"{path} can't be written: {error.strerror or error}.") from error
        self.stdout.write(f"{rows:,} rows written to {path}")
