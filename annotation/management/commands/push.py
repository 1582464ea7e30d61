"""``coral push``: a project's kept model or labelled rows to the Hugging Face hub, or into a folder."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotation.errors import AnnotationError
from annotation.models import Project
from annotation.pipeline.distill.kept_model import CARD, model_card, model_files, needed_model
from annotation.pipeline.export.other_tools import data_set_files
from mlcore.errors import EngineError


class Command(BaseCommand):
    help = (
        "Push a project's kept model or its labelled rows, each with a card, to the Hugging Face hub, or write them to a folder. "
        "For example: coral push model 3 me/film-notes, or: coral push data 3 --folder film-notes"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "what", choices=("model", "data"), help="the kept model, or all rows with their labels"
        )
        parser.add_argument(
            "project", type=int, help="the project's number, as it stands in its address in the browser"
        )
        parser.add_argument("name", nargs="?", default="", help="its name on the hub: owner/name")
        parser.add_argument(
            "--folder", type=Path, help="write the folder here instead; it must not exist yet"
        )
        parser.add_argument(
            "--token-variable",
            default="HF_TOKEN",
            metavar="NAME",
            help="the environment variable that holds a token with the right to write (default: HF_TOKEN)",
        )
        parser.add_argument("--public", action="store_true", help="everybody may see it (default: private)")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(pk=options["project"]).first()
        if project is None:
            raise CommandError(
                f"There is no project {options['project']}. The number stands in its address in the browser."
            )
        if bool(options["name"]) == bool(options["folder"]):
            raise CommandError("Give either a name on the hub, such as me/film-notes, or --folder.")
        fill = partial(_FILLERS[options["what"]], project)
        try:
            if options["folder"]:
                fill(options["folder"])
                self.stdout.write(f"Written to {options['folder']}")
                return
            token = _token(options["token_variable"])
            with TemporaryDirectory(prefix="coral-") as working:
                folder = Path(working) / "files"
                fill(folder)
                address = _push(folder, options["name"], token, options["what"], public=options["public"])
        except (AnnotationError, EngineError) as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(
                f"{error.filename or options['folder']}: {error.strerror or error}."
            ) from error
        self.stdout.write(f"Pushed to {address}")


def _write_model(project: Project, folder: Path) -> None:
    kept = needed_model(project)
    folder.mkdir()
    (folder / CARD).write_text(model_card(kept), encoding="utf-8")
    for name, path in model_files(kept):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(path, folder / name)


def _write_data(project: Project, folder: Path) -> None:
    folder.mkdir()
    with TemporaryDirectory(dir=folder, prefix=".") as working:
        _rows, files = data_set_files(project, Path(working))
        for name, path in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            path.rename(folder / name)


_FILLERS = {"model": _write_model, "data": _write_data}


def _token(variable: str) -> str:
    token = os.environ.get(variable, "")
    if not token:
        raise CommandError(
            f"The environment variable {variable} is empty; --token-variable names where the token is."
        )
    return token


def _push(folder: Path, name: str, token: str, what: str, *, public: bool) -> str:
    """Upload the folder; returns its address."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    kind = "dataset" if what == "data" else "model"
    try:
        address = str(hub.create_repo(name, repo_type=kind, private=not public, exist_ok=True))
        hub.upload_folder(repo_id=name, repo_type=kind, folder_path=folder, commit_message="Pushed by CORAL")
    except (HfHubHTTPError, HFValidationError) as error:
        raise CommandError(f"The hub did not take it: {error}") from error
    return address
