"""``coral run-rounds``: the whole loop on one file, without a browser."""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from annotation.errors import AnnotationError
from annotation.jobs import kinds
from annotation.jobs.details import PlanDetail
from annotation.management.autopilot import certificate_words, follow_plan, label_new_file, waiting_words
from annotation.management.console import accuracy_table, complete, console_user, errors_only, store_file
from annotation.management.run_options import add_file_options, add_goal_options, add_model_options
from annotation.models import Project
from annotation.pipeline.distill import start_distillation
from annotation.pipeline.export import run_export
from annotation.pipeline.ingest.column_roles import ColumnRoles, guess_roles
from annotation.pipeline.ingest.reference_labels import (
    match_references,
    suggest_labels,
)
from annotation.pipeline.ingest.start_import import start_import
from annotation.pipeline.iterate import start_round
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
from annotation.pipeline.project.goal import set_goal
from mlcore.config import LlmConfig
from mlcore.errors import EngineError


class Command(BaseCommand):
    help = (
        "Label a file without the browser: import it, run rounds of LLM labeling and SLM filtering, and write the labelled file. "
        "Prints the accuracy of each round if the file has reference labels. The project stays: `coral up` shows it. "
        "For example: coral run-rounds --input reviews.csv --task sentiment --out reviews.xlsx"
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--input", type=Path, required=True, metavar="FILE", help="the file to label")
        parser.add_argument(
            "--out",
            type=Path,
            required=True,
            metavar="FILE",
            help=f"the file to write; its ending decides: {', '.join(run_export.WRITERS)}",
        )
        parser.add_argument(
            "--task", choices=Project.TaskType.values, default="sentiment", help="default: sentiment"
        )
        parser.add_argument("--name", help="name of the project (default: the file's name)")
        parser.add_argument("--rounds", type=int, default=2, metavar="N", help="how many rounds (default: 2)")
        parser.add_argument(
            "--new-rows",
            type=Path,
            metavar="FILE",
            help="further rows with the same columns; after the rounds the kept small model labels them, without the LLM",
        )
        add_file_options(parser)
        add_model_options(parser)
        add_goal_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        write = run_export.writer_of(options["out"])
        if write is None:
            raise CommandError(f"{options['out'].name} must end in one of: {', '.join(run_export.WRITERS)}.")
        call_command("migrate", interactive=False, verbosity=0)  # it may be the first command of all
        now = PlanDetail()
        try:
            with errors_only():
                project = _make_project(options)
                if options["target"] is not None:
                    _set_goal(project, options)
                if options["autopilot"]:
                    now = follow_plan(project, from_reference=options["answers_from_reference"])
                else:
                    for _ in range(options["rounds"]):
                        _run_round(project, ask_all=options["ask_all"])
                if options["new_rows"]:
                    label_new_file(project, options["new_rows"])
                rows = write(project, options["out"])
        except (AnnotationError, EngineError) as error:
            raise CommandError(str(error)) from error
        table = accuracy_table(list(project.iterations.order_by("number")))
        self.stdout.write(f"\n{table or 'The file has no reference labels to measure against.'}")
        for words in (certificate_words(project), waiting_words(project, now)):
            if words:
                self.stdout.write(f"\n{words}")
        self.stdout.write(f"\n{rows} rows in {options['out']} after {time.monotonic() - started:.0f} s")


def _set_goal(project: Project, options: dict[str, Any]) -> None:
    if not 50 <= options["target"] < 100:
        raise CommandError(f"--target is {options['target']:g}; it goes from 50 to less than 100 percent.")
    set_goal(
        project,
        user=project.owner,
        target=options["target"] / 100,
        money=options["budget"],
        minutes=options["minutes"],
        autopilot=options["autopilot"],
    )


def _make_project(options: dict[str, Any]) -> Project:
    """A project with the file's rows, its labels and models."""
    path: Path = options["input"]
    if not path.is_file():
        raise CommandError(f"There is no file at {path}.")
    user = console_user()
    project = configure.create_project(
        name=options["name"] or path.stem, task_type=options["task"], owner=user
    )
    configure.set_llm(project, config=_llm_config(options, project.llm_config), token=_token(options))
    if options["prompt"]:
        configure.set_prompt(project, **_prompt_blocks(options["prompt"]))
    distill = project.distill_config
    if options["epochs"]:
        distill = replace(distill, epochs=options["epochs"])
    configure.set_slm(project, config=distill, chain_stages=False)
    with TemporaryDirectory(prefix="coral-") as folder:
        upload = store_file(project, _limited(path, options["limit"], Path(folder)), user)
    complete(start_import(project, upload, _roles(project, upload.columns, options), user=user))
    project.refresh_from_db()
    names = options["labels"] or suggest_labels(project).names
    configure.set_labels(project, [LabelDraft(name) for name in names])
    match_references(project)
    return project


def _roles(project: Project, columns: list[str], options: dict[str, Any]) -> ColumnRoles:
    """What each column is: as the options say, else by its name."""
    given = {
        "content_columns": options["content"],
        "id_column": options["id_column"],
        "reference_column": options["reference"],
    }
    chosen = {role: column for role, column in given.items() if column}
    others = [column for column in columns if column not in chosen.values()]
    roles = guess_roles(project, others) | chosen
    if not roles["content_columns"]:
        raise CommandError(
            f"Which column holds the text? The file has {', '.join(columns)}. Name it with --content."
        )
    return ColumnRoles(**roles)


def _llm_config(options: dict[str, Any], config: LlmConfig) -> LlmConfig:
    llm = options["llm"]
    if not 1 <= options["llm_share"] <= 100:
        raise CommandError(f"--llm-share is {options['llm_share']}; it goes from 1 to 100 percent.")
    config = replace(config, asked_percent=options["llm_share"])
    if options["prices"]:
        price_in, price_out = options["prices"]
        config = replace(config, price_in=price_in, price_out=price_out)
    if llm == "local":
        return config
    if llm.startswith(("http://", "https://")):
        return replace(config, kind="endpoint", base_url=llm, model=options["model"])
    return replace(config, model=llm)


def _token(options: dict[str, Any]) -> str | None:
    name = options["token_variable"]
    if name and not os.environ.get(name):
        raise CommandError(
            f"The environment variable {name} is empty; --token-variable names where the token is."
        )
    return os.environ[name] if name else None


def _prompt_blocks(path: Path) -> dict[str, str]:
    try:
        blocks = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(blocks[name]) for name in ("description", "demonstration", "output")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(
            f"{path} is no prompt: a JSON object with description, demonstration and output is needed ({error})."
        ) from error


def _label_drafts(path: Path) -> list[LabelDraft]:
    try:
        lines = [
            line.partition("\t") for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()
        ]
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} can't be read as text: {error}.") from error
    return [LabelDraft(name.strip(), description.strip()) for name, _tab, description in lines]


def _run_round(project: Project, *, ask_all: bool) -> None:
    iteration = start_round.start_round(project, started_from="llm", user=project.owner, ask_all=ask_all)
    complete(iteration.stages.get(kind=kinds.LLM.key))
    complete(start_distillation.start_filtering(iteration, user=project.owner))


def _limited(path: Path, limit: int | None, folder: Path) -> Path:
    """The file itself, or a copy of so many of its rows, in their order, in the folder."""
    if limit is None:
        return path
    if path.suffix.lower() != ".csv":
        raise CommandError("--limit works on CSV files only.")
    with path.open(newline="", encoding="utf-8-sig") as source:
        header, *rows = csv.reader(source)
    # At random, since files are often sorted by label; always the same rows, so that two runs can be compared.
    kept = sorted(random.Random(0).sample(range(len(rows)), min(limit, len(rows))))  # noqa: S311
    with (folder / path.name).open("w", newline="", encoding="utf-8") as target:
        csv.writer(target).writerows([header, *(rows[index] for index in kept)])
    return folder / path.name
