"""``coral predict``: label the rows of a file by a kept model, without a language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from annotation.errors import AnnotationError
from annotation.files.open_table import open_table
from annotation.files.parquet_writer import write_parquet_rows
from annotation.files.records import Limits, RejectedRow, SourceRow, Table
from annotation.files.sniff import recognise
from annotation.files.writers import PREFIX, write_csv_rows, write_json_rows
from annotation.management.console import INTERRUPTED
from annotation.models import Project
from annotation.pipeline.distill.kept_model import needed_model
from mlcore.atomic_write import write_whole
from mlcore.errors import EngineError

if TYPE_CHECKING:
    from mlcore.classifier.classifier import Classifier

ROWS_AT_ONCE = 1_024
ENDINGS = (".csv", ".jsonl", ".parquet")
# A command reads what its user gives it: only a single cell has a limit.
UNLIMITED = Limits(file_bytes=1 << 50, unpacked_bytes=1 << 50, rows=1 << 40, columns=10_000)
TOLD_ROWS = 10


class Command(BaseCommand):
    help = (
        "Label the rows of a file with a kept model: each gets label, confidence and risk (the probability that the label is wrong). "
        "No language model is asked. For example: coral predict 3 new.csv labelled.csv"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "model",
            help="the project's number, as it stands in its address in the browser, or the folder of a downloaded model",
        )
        parser.add_argument(
            "file",
            type=Path,
            help="the file to label: CSV, JSON Lines, Parquet or Excel, told by its content",
        )
        parser.add_argument(
            "out", type=Path, help=f"the file to write; its ending decides: {', '.join(ENDINGS)}"
        )
        parser.add_argument(
            "--content",
            action="append",
            metavar="COLUMN",
            help="the column that holds the text, where it is not named as in training; may be repeated, in the order of training",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        out: Path = options["out"]
        if out.suffix.lower() not in ENDINGS:
            raise CommandError(f"{out.name} must end in one of: {', '.join(ENDINGS)}.")
        try:
            classifier = _load(options["model"])
            table = open_table(options["file"], recognise(options["file"], UNLIMITED), UNLIMITED)
            places = _places(classifier, table, options["content"])
            labeled = _Labeled(classifier, table, places)
            with write_whole(out) as temporary:
                rows = _write(temporary, out.suffix.lower(), labeled)
        except (AnnotationError, EngineError) as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{error.filename or out}: {error.strerror or error}.") from error
        except KeyboardInterrupt:
            raise CommandError("Stopped; no file was written.", returncode=INTERRUPTED) from None
        for row in labeled.rejected[:TOLD_ROWS]:
            self.stderr.write(f"line {row.line:,} left out: {row.reason}")
        left_out = (
            f"; {len(labeled.rejected):,} rows could not be read and are left out" if labeled.rejected else ""
        )
        self.stdout.write(f"{rows:,} rows written to {out}{left_out}")


def _load(model: str) -> Classifier:
    """The model of a project, or of a folder.

    Raises:
        CommandError: there is no such project.
    """
    from mlcore.classifier.classifier import Classifier  # loads torch

    folder = Path(model)
    if model.isdigit() and not folder.exists():
        project = Project.objects.filter(pk=int(model)).first()
        if project is None:
            raise CommandError(f"There is no project {model}, and no folder of that name.")
        folder = needed_model(project).model_folder
    return Classifier.load(folder, cache_dir=settings.CACHE_DIR, weights_dir=settings.MODEL_DIR)


def _places(classifier: Classifier, table: Table, chosen: Sequence[str] | None) -> list[int]:
    """Where the model's columns stand in the file.

    Raises:
        CommandError: one of them is not in it.
    """
    names = chosen or classifier.about.columns or table.columns[:1]
    if chosen and classifier.about.columns and len(chosen) != len(classifier.about.columns):
        raise CommandError(
            f"The model was trained on these columns: {', '.join(classifier.about.columns)}. Name as many."
        )
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise CommandError(
            f"The file has no column {', '.join(missing)}; it has {', '.join(table.columns)}. Name the column with --content."
        )
    return [table.columns.index(name) for name in names]


class _Labeled:
    """The file's rows with what the model says of them, in their order, as they are asked for."""

    def __init__(self, classifier: Classifier, table: Table, places: list[int]) -> None:
        self.classifier, self.table, self.places = classifier, table, places
        self.rejected: list[RejectedRow] = []
        self.names = [_free(name, table.columns) for name in ("label", "confidence", "risk")]

    @property
    def header(self) -> list[str]:
        return [*self.table.columns, *self.names]

    def __iter__(self) -> Iterator[list[Any]]:
        import pandas as pd

        columns = list(self.classifier.about.columns) or ["text"]
        notes = self.table.notes
        with tqdm(total=notes.bytes_total or None, unit="B", unit_scale=True, disable=None) as bar:
            readable = self._readable()
            while part := list(islice(readable, ROWS_AT_ONCE)):
                cells = [[row.cells[place] for place in self.places] for row in part]
                frame = pd.DataFrame(cells, columns=columns, dtype=str)
                predicted = self.classifier.predict(
                    frame if self.classifier.about.columns else frame["text"].tolist()
                )
                for row, name, sure, risk in zip(
                    part, predicted.names, predicted.confidence, predicted.risk, strict=True
                ):
                    yield [*row.cells, name, round(float(sure), 6), round(float(risk), 6)]
                bar.total = notes.bytes_total or None
                bar.update(notes.bytes_read - bar.n)

    def _readable(self) -> Iterator[SourceRow]:
        for row in self.table.rows:
            if isinstance(row, RejectedRow):
                self.rejected.append(row)
            else:
                yield row


def _free(name: str, taken: Sequence[str]) -> str:
    return _free(PREFIX + name, taken) if name in taken else name


def _write(path: Path, ending: str, labeled: _Labeled) -> int:
    if ending == ".parquet":
        return write_parquet_rows(
            path, labeled.header, dict.fromkeys(labeled.names[1:], float), lambda: labeled
        )
    if ending == ".jsonl":
        with path.open("w", encoding="utf-8") as file:
            return write_json_rows(file, labeled.header, labeled)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        return write_csv_rows(file, labeled.header, labeled)
