"""``coral import``: files into a project, without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotation.errors import AnnotationError
from annotation.files.text.delimiters import DELIMITERS
from annotation.files.text.encodings import ENCODINGS
from annotation.management.console import complete, errors_only, store_file
from annotation.messages import message_text
from annotation.models import Activity, Project, Upload
from annotation.pipeline.ingest import start_import
from annotation.pipeline.ingest.column_roles import ColumnRoles, ImportChoices
from annotation.pipeline.ingest.data_sets import expand
from annotation.pipeline.ingest.import_report import ImportReport
from annotation.pipeline.ingest.upload import delete_upload, read_preview, waiting_uploads
from annotation.pipeline.project import activity
from mlcore.column_kinds import CHOICES


class Command(BaseCommand):
    help = (
        "Import CSV, TSV, Excel, JSON or Parquet files (also gzipped) into a project, and tell what became of every row. "
        "For example: coral import letters.csv --project 3 --content subject --content text --id number"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "file",
            nargs="+",
            help="a file, or several with the same columns, one after the other; the folder of a Hugging Face data set, or "
            "hf:OWNER/NAME for one on the hub",
        )
        parser.add_argument("--project", type=int, required=True, metavar="ID", help="the project's number")
        parser.add_argument(
            "--user", help="the name of the user who imports; the project's owner if not given"
        )
        _add_column_options(parser)
        _add_reading_options(parser)
        _add_row_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(pk=options["project"]).first()
        if project is None:
            raise CommandError(
                f"There is no project {options['project']}. The number stands in its address in the browser."
            )
        user = User.objects.filter(username=options["user"]).first() if options["user"] else project.owner
        if user is None:
            raise CommandError(f"There is no user {options['user']!r}.")
        kinds = _kinds(options["kind"])
        uploads: list[Upload] = []
        try:
            paths = [path for name in options["file"] for path in expand(str(name))]
            for path in paths:
                with _naming(path, one_of_several=len(paths) > 1):
                    uploads.append(store_file(project, path, user, **_reading(options)))
                    for warning in read_preview(uploads[-1]).warnings:
                        self.stderr.write(f"note: {warning}")
            for upload in uploads:
                if len(uploads) > 1:
                    self.stdout.write(f"{upload.name}:")
                self._import(project, upload, user, kinds, options)
        except AnnotationError as error:
            raise CommandError(str(error)) from error
        finally:
            # What was not begun is not left waiting on the project's page; the files are still where they came from.
            for upload in set(uploads) & set(waiting_uploads(project)):
                delete_upload(upload)

    def _import(
        self,
        project: Project,
        upload: Upload,
        user: User,
        kinds: dict[str, str] | None,
        options: dict[str, Any],
    ) -> None:
        stage = start_import.start_import(
            project,
            upload,
            ColumnRoles(
                options["content"] or _only_column(upload), options["id"], options["reference"], kinds
            ),
            user=user,
            choices=ImportChoices(
                on_bad_row="reject" if options["reject"] else "skip",
                keep_duplicates=options["keep_duplicates"],
                keep_empty=options["keep_empty"],
            ),
        )
        activity.record(project, user=user, verb=Activity.Verb.UPLOADED, what=upload.name)
        with errors_only():
            complete(stage)
        upload.refresh_from_db()
        self._tell(ImportReport.of(upload))

    def _tell(self, report: ImportReport) -> None:
        self.stdout.write(
            f"{report.read:,} rows read = {report.imported:,} imported + {report.duplicates:,} duplicates + {report.rejected:,} rejected"
        )
        for what, times in report.warnings.items():
            self.stdout.write(f"  {message_text(what)}: {times:,}")
        for line, outcome, reason in report.rows:
            self.stdout.write(f"  line {line:,} {outcome}: {reason}")
        if more := report.duplicates + report.rejected - len(report.rows):
            self.stdout.write(f"  and {more:,} more; the project's page has the whole list")


def _add_column_options(parser: CommandParser) -> None:
    group = parser.add_argument_group("what the columns are")
    group.add_argument(
        "--content",
        action="append",
        metavar="COLUMN",
        help="a column that the models see; may be repeated, and is not needed where there is one column only",
    )
    group.add_argument("--id", default="", metavar="COLUMN", help="a column whose values name the rows")
    group.add_argument(
        "--reference", default="", metavar="COLUMN", help="a column of known labels, for measuring only"
    )
    group.add_argument(
        "--kind",
        action="append",
        metavar="COLUMN=KIND",
        help=f"what a content column of a table holds, where the guess is wrong: {', '.join(CHOICES)}; may be repeated",
    )


def _add_reading_options(parser: CommandParser) -> None:
    group = parser.add_argument_group("how the files are read, where what is detected is wrong")
    group.add_argument("--encoding", help=f"one of {', '.join(ENCODINGS)}")
    delimiters = ", ".join("tab" if each == "\t" else each for each in DELIMITERS if each)
    group.add_argument("--delimiter", help=f"one of {delimiters}".replace("%", "%%"))
    group.add_argument(
        "--plain-quotes", action="store_true", help="quotes are characters like any other, not around cells"
    )
    group.add_argument("--sheet", help="the name of an Excel sheet, if it is not the first")
    group.add_argument(
        "--header",
        type=int,
        metavar="ROW",
        help="which filled row names the columns, counted from 1; 0 if none does",
    )
    group.add_argument("--lines", action="store_true", help="each line is one text, and there are no columns")
    group.add_argument(
        "--replace-bad", action="store_true", help="put U+FFFD for bytes that do not fit the encoding"
    )
    group.add_argument("--fill-merged", action="store_true", help="fill merged cells of an Excel sheet")


def _add_row_options(parser: CommandParser) -> None:
    group = parser.add_argument_group("which rows are imported")
    group.add_argument(
        "--reject", action="store_true", help="import nothing of a file if one of its rows is bad"
    )
    group.add_argument("--keep-duplicates", action="store_true", help="import texts again that are there")
    group.add_argument("--keep-empty", action="store_true", help="import rows without a text, too")


def _kinds(given: list[str] | None) -> dict[str, str] | None:
    """What was said of the columns; None if nothing was, so that an earlier choice stays."""
    if given is None:
        return None
    kinds = {}
    for each in given:
        column, equals, kind = each.rpartition("=")
        if not equals:
            raise CommandError(f"--kind {each} has no =. Write it as COLUMN=KIND, such as age=number.")
        kinds[column] = kind
    return kinds


def _only_column(upload: Upload) -> list[str]:
    if len(upload.columns) > 1:
        raise CommandError(
            f"{upload.name} has the columns {', '.join(upload.columns)}. Say with --content which the models are to see."
        )
    return list(upload.columns)


@contextmanager
def _naming(path: Path, *, one_of_several: bool) -> Iterator[None]:
    """Says which file an error is about, where there are several."""
    try:
        yield
    except AnnotationError as error:
        if not one_of_several:
            raise
        raise AnnotationError("%(file)s: %(error)s", file=path.name, error=error.message) from error


def _reading(options: dict[str, Any]) -> dict[str, Any]:
    """How the files are to be read; None where what is detected counts."""
    return {
        "one_text_a_line": options["lines"],
        "encoding": options["encoding"],
        "delimiter": {"\\t": "\t", "tab": "\t"}.get(options["delimiter"], options["delimiter"]),
        "quote": "" if options["plain_quotes"] else None,
        "sheet": options["sheet"],
        "header": options["header"],
        "replace_bad": options["replace_bad"] or None,
        "fill_merged": options["fill_merged"] or None,
    }
