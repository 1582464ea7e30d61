from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from annotation.errors import AnnotationError
from annotation.jobs import kinds
from annotation.management.autopilot import certificate_words, follow_plan
from annotation.management.console import accuracy_table, complete, console_user, errors_only
from annotation.models import Project, Source, Stage
from annotation.pipeline.export import run_export
from annotation.pipeline.project.goal import set_goal
from annotation.pipeline.project.samples import CHINESE, ENGLISH, Sample, configure_sample, import_sample


class Command(BaseCommand):
    help = (
        "Load the two sample projects and bring the English one to a certificate with the embedded models: where people are "
        "needed, a scripted person answers from the sample's reference labels. Then write its Excel file. What is there "
        "already is kept, so a second run is quick."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--target",
            type=float,
            default=95,
            metavar="PERCENT",
            help="right labels that the English sample is to have (default: 95)",
        )
        parser.add_argument(
            "--with-workers",
            action="store_true",
            help="leave the work to running workers, as `up --demo` does",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        call_command("migrate", interactive=False, verbosity=0)  # it may be the first command of all
        here = not options["with_workers"]
        path = settings.EXPORT_DIR / "customer_messages.xlsx"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with errors_only():
                project = _load(ENGLISH, here=here)
                _load(CHINESE, here=here)
                set_goal(
                    project, user=project.owner, target=options["target"] / 100, minutes=None, autopilot=True
                )
                self.stdout.write(
                    "Where people are needed, a scripted person answers from the reference labels."
                )
                follow_plan(project, from_reference=True, here=here)
                run_export.write_excel(project, path)
        except AnnotationError as error:
            raise CommandError(str(error)) from error
        self._print_result(project, path, seconds=time.monotonic() - started)

    def _print_result(self, project: Project, path: Path, *, seconds: float) -> None:
        iterations = list(project.iterations.prefetch_related("stages").order_by("number"))
        work = sum(stage.seconds for iteration in iterations for stage in iteration.stages.all())
        asked = project.samples.filter(source=Source.PERSON).count()
        self.stdout.write(
            f"\nSample project “{project}”: {project.samples.count()} rows, accuracy against the reference labels\n\n"
            f"{accuracy_table(iterations)}\n\n"
            f"The scripted person answered {asked} rows from the reference labels.\n"
            f"{certificate_words(project)}\n\n"
            f"Excel file: {path}\n"
            f"Time: {seconds:.0f} s now; {work:.0f} s of labeling and training in all rounds\n"
        )


def _load(sample: Sample, *, here: bool) -> Project:
    """The sample's project with its rows; what an earlier run made is kept, and a half import is seen through."""
    user = console_user()
    project = Project.objects.filter(name=sample.name, owner=user).order_by("pk").first() or configure_sample(
        sample, user
    )
    stage = project.stages.filter(kind=kinds.IMPORT.key).order_by("-id").first() or import_sample(
        project, sample, user
    )
    if stage.status != Stage.Status.DONE:
        complete(stage, here=here)
    project.refresh_from_db()
    return project
