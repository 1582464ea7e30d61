"""``manage.py import``: a file into a project, without a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.files.base import File
from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotation.errors import AnnotationError
from annotation.management.console import complete
from annotation.models import Project, Stage, Upload
from annotation.pipeline import ingest


class Command(BaseCommand):
    help = "Import a CSV, Excel, JSON or Parquet file into a project, and tell what became of every row."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="the file")
        parser.add_argument("--project", type=int, required=True, metavar="ID", help="the project's number")
        parser.add_argument(
            "--content",
            action="append",
            required=True,
            metavar="COLUMN",
            help="a column that the models see; may be repeated",
        )
        parser.add_argument("--id", default="", metavar="COLUMN", help="a column whose values name the rows")
        parser.add_argument(
            "--reference", default="", metavar="COLUMN", help="a column of known labels, for measuring only"
        )
        parser.add_argument("--encoding", help="such as utf-8 or gb18030, if the detected one is wrong")
        parser.add_argument("--delimiter", help="if the detected one is wrong; tab is written as \\t")
        parser.add_argument("--sheet", help="the name of an Excel sheet, if it is not the first")
        parser.add_argument(
            "--header",
            type=int,
            metavar="ROW",
            help="which filled row names the columns, counted from 1; 0 if none does",
        )
        parser.add_argument(
            "--replace-bad", action="store_true", help="put U+FFFD for bytes that do not fit the encoding"
        )
        parser.add_argument("--fill-merged", action="store_true", help="fill merged cells of an Excel sheet")
        parser.add_argument(
            "--keep-duplicates", action="store_true", help="import texts again that are there"
        )
        parser.add_argument("--keep-empty", action="store_true", help="import rows without a text, too")
        parser.add_argument("--reject", action="store_true", help="import nothing if one row is bad")
        parser.add_argument("--user", help="the name of the user who imports")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            upload, stage = self._start(options)
        except AnnotationError as error:
            raise CommandError(str(error)) from error
        complete(stage)
        upload.refresh_from_db()
        self._tell(ingest.ImportReport.of(upload))

    def _start(self, options: dict[str, Any]) -> tuple[Upload, Stage]:
        project = Project.objects.filter(pk=options["project"]).first()
        if project is None:
            raise CommandError(
                f"There is no project {options['project']}. The number stands in its address in the browser."
            )
        user = User.objects.filter(username=options["user"]).first() if options["user"] else project.owner
        if user is None:
            raise CommandError(f"There is no user {options['user']!r}.")
        try:
            with options["file"].open("rb") as file:
                upload = ingest.store_upload(project, File(file, name=options["file"].name), user)
        except OSError as error:
            raise CommandError(f"{options['file']} can't be opened: {error.strerror}.") from error
        delimiter = options["delimiter"]
        preview = ingest.read_preview(
            upload,
            encoding=options["encoding"],
            delimiter="\t" if delimiter == "\\t" else delimiter,
            sheet=options["sheet"],
            header=options["header"],
            replace_bad=options["replace_bad"] or None,
            fill_merged=options["fill_merged"] or None,
        )
        for warning in preview.warnings:
            self.stderr.write(f"note: {warning}")
        stage = ingest.start_import(
            project,
            upload,
            content_columns=options["content"],
            id_column=options["id"],
            reference_column=options["reference"],
            user=user,
            on_bad_row="reject" if options["reject"] else "skip",
            keep_duplicates=options["keep_duplicates"],
            keep_empty=options["keep_empty"],
        )
        return upload, stage

    def _tell(self, report: ingest.ImportReport) -> None:
        self.stdout.write(
            f"{report.read:,} rows read = {report.imported:,} imported + {report.duplicates:,} duplicates + {report.rejected:,} rejected"
        )
        for what, times in report.warnings.items():
            self.stdout.write(f"  {what}: {times:,}")
        for line, outcome, reason in report.rows:
            self.stdout.write(f"  line {line:,} {outcome}: {reason}")
        if more := report.duplicates + report.rejected - len(report.rows):
            self.stdout.write(f"  and {more:,} more; the project's page has the whole list")
