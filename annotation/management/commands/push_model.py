"""``coral push-model``: a project's kept model to the Hugging Face hub, or into a folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotation.errors import AnnotationError
from annotation.models import Project
from annotation.pipeline.distill.kept_model import CARD, KeptModel, model_card, model_files, needed_model
from mlcore.errors import EngineError


class Command(BaseCommand):
    help = (
        "Push a project's kept model, with its card, to the Hugging Face hub, or write it to a folder. "
        "For example: coral push-model 3 me/film-notes --token-variable HF_TOKEN, or: coral push-model 3 --folder film-notes"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "project", type=int, help="the project's number, as it stands in its address in the browser"
        )
        parser.add_argument("name", nargs="?", default="", help="the model's name on the hub: owner/name")
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
        try:
            kept = needed_model(project)
            if options["folder"]:
                _write_folder(kept, options["folder"])
                self.stdout.write(f"The model is in {options['folder']}.")
                return
            with TemporaryDirectory(prefix="coral-") as working:
                folder = Path(working) / "model"
                _write_folder(kept, folder)
                address = _push(folder, options["name"], _token(options["token_variable"]), options["public"])
        except (AnnotationError, EngineError) as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(
                f"{error.filename or options['folder']}: {error.strerror or error}."
            ) from error
        self.stdout.write(f"The model is at {address}")


def _write_folder(kept: KeptModel, folder: Path) -> None:
    folder.mkdir()
    (folder / CARD).write_text(model_card(kept), encoding="utf-8")
    for name, path in model_files(kept):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(path, folder / name)


def _token(variable: str) -> str:
    token = os.environ.get(variable, "")
    if not token:
        raise CommandError(
            f"The environment variable {variable} is empty; --token-variable names where the token is."
        )
    return token


def _push(folder: Path, name: str, token: str, public: bool) -> str:
    """Upload the folder; returns its address."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    try:
        address = str(hub.create_repo(name, private=not public, exist_ok=True))
        hub.upload_folder(repo_id=name, folder_path=folder, commit_message="Model kept by CORAL")
    except (HfHubHTTPError, HFValidationError) as error:
        raise CommandError(f"The hub did not take the model: {error}") from error
    return address
