from __future__ import annotations

import argparse
import csv
import random
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from annotation.errors import AnnotationError
from annotation.management.console import accuracy_table, complete, console_user, errors_only, open_as_upload
from annotation.models import Project, Stage
from annotation.pipeline.distill import start_distillation
from annotation.pipeline.export import run_export
from annotation.pipeline.ingest import start_import
from annotation.pipeline.iterate import start_round
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
from mlcore.config import LlmConfig
from mlcore.errors import EngineError


class Command(BaseCommand):
    help = (
        "Label a file without the browser: import it, run rounds of LLM labeling and SLM filtering, write an Excel file, and "
        "print the accuracy against the file's reference labels where it has some. The project stays and can be opened in the browser."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--input", type=Path, required=True, help="CSV or XLSX file")
        parser.add_argument("--out", type=Path, required=True, help="Excel file to write")
        parser.add_argument(
            "--task", choices=Project.TaskType.values, default="sentiment", help="default: sentiment"
        )
        parser.add_argument(
            "--limit",
            type=int,
            help="take only so many rows, drawn at random from the file (always the same ones)",
        )
        parser.add_argument(
            "--content",
            nargs="+",
            metavar="COLUMN",
            help="columns that the models see (default: text, or for a table all others)",
        )
        parser.add_argument(
            "--reference",
            metavar="COLUMN",
            help="column of reference labels (default: label, topic, sentiment or the task's like, if there is one)",
        )
        parser.add_argument(
            "--id",
            dest="id_column",
            metavar="COLUMN",
            help="column of row ids (default: id, if there is one)",
        )
        parser.add_argument(
            "--labels",
            nargs="+",
            metavar="LABEL",
            help="label names (default: the reference column's values)",
        )
        parser.add_argument(
            "--llm",
            default="local",
            help="local (embedded weights, the default), a model name or folder under CORAL_MODEL_DIR, or the URL of a compatible server",
        )
        parser.add_argument("--model", default="", help="model name to ask the server for, with an --llm URL")
        parser.add_argument("--rounds", type=int, default=2, help="default: 2")
        parser.add_argument(
            "--ask-all",
            action="store_true",
            help="Later rounds ask the LLM about all rows again, not only about those at risk.",
        )
        parser.add_argument("--epochs", type=int, help="training epochs of the small model")
        parser.add_argument("--name", help="name of the project (default: the file's name)")

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        call_command("migrate", interactive=False, verbosity=0)  # it may be the first command of all
        try:
            with errors_only():
                project = self._make_project(options)
                for _number in range(options["rounds"]):
                    self._run_round(project, ask_all=options["ask_all"])
                rows = run_export.write_excel(project, options["out"])
        except (AnnotationError, EngineError) as error:
            raise CommandError(str(error)) from error
        table = accuracy_table(list(project.iterations.order_by("number")))
        self.stdout.write(f"\n{table or 'The file has no reference labels to measure against.'}")
        self.stdout.write(f"\n{rows} rows in {options['out']} after {time.monotonic() - started:.0f} s")

    def _make_project(self, options: dict[str, Any]) -> Project:
        user, path = console_user(), options["input"]
        project = configure.create_project(
            name=options["name"] or path.stem, task_type=options["task"], owner=user
        )
        configure.set_llm(project, config=_llm_config(options, project.llm_config), token=None)
        config = project.distill_config
        if options["epochs"]:
            configure.set_slm(project, config=replace(config, epochs=options["epochs"]), chain_stages=False)
        else:
            configure.set_slm(project, config=config, chain_stages=False)
        upload = start_import.store_upload(project, open_as_upload(_limited(path, options["limit"])), user)
        columns = list(upload.columns)
        reference = options["reference"] or _first(columns, REFERENCE_NAMES)
        id_column = options["id_column"] or _first(columns, ("id", "ID", "PassengerId"))
        content = options["content"] or _content(columns, options["task"], {reference, id_column})
        stage = start_import.start_import(
            project,
            upload,
            content_columns=content,
            id_column=id_column,
            reference_column=reference,
            user=user,
        )
        complete(stage)
        project.refresh_from_db()
        names = options["labels"] or start_import.suggest_labels(project)
        configure.set_labels(project, [LabelDraft(name) for name in names])
        start_import.match_references(project)
        return project

    def _run_round(self, project: Project, *, ask_all: bool) -> None:
        iteration = start_round.start_round(project, started_from="llm", user=project.owner, ask_all=ask_all)
        complete(iteration.stages.get(kind=Stage.Kind.LLM))
        complete(start_distillation.start_filtering(iteration, user=project.owner))


REFERENCE_NAMES = (
    "label",
    "topic",
    "sentiment",
    "class",
    "target",
    "Survived",
    "income",
    "airline_sentiment",
)


def _llm_config(options: dict[str, Any], config: LlmConfig) -> LlmConfig:
    llm = options["llm"]
    if llm == "local":
        return config
    if llm.startswith(("http://", "https://")):
        return replace(config, kind="endpoint", base_url=llm, model=options["model"])
    return replace(config, model=llm)


def _first(columns: list[str], wanted: tuple[str, ...]) -> str:
    return next((name for name in wanted if name in columns), "")


def _content(columns: list[str], task: str, taken: set[str]) -> list[str]:
    if task == Project.TaskType.TABULAR:
        return [name for name in columns if name not in taken]
    if "text" not in columns:
        raise CommandError(
            f"The file has no column “text”; its columns are {', '.join(columns)}. Choose with --content."
        )
    return ["text"]


def _limited(path: Path, limit: int | None) -> Path:
    """The file itself, or a copy of some of its rows, in their order, in a folder of its own."""
    if limit is None:
        return path
    if path.suffix.lower() != ".csv":
        raise CommandError("--limit works on CSV files only.")
    if not path.is_file():
        raise CommandError(f"There is no file at {path}. Give the path of a CSV or XLSX file.")
    with path.open(newline="", encoding="utf-8-sig") as source:
        header, *rows = csv.reader(source)
    # At random, since files are often sorted by label; always the same rows, so that two runs can be compared.
    kept = sorted(random.Random(0).sample(range(len(rows)), min(limit, len(rows))))  # noqa: S311
    copy = Path(tempfile.mkdtemp(prefix="coral-")) / path.name
    with copy.open("w", newline="", encoding="utf-8") as target:
        csv.writer(target).writerows([header, *(rows[number] for number in kept)])
    return copy
