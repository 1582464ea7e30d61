from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from annotation.errors import AnnotationError
from annotation.management.console import accuracy_table, complete, console_user, open_as_upload, work_quietly
from annotation.models import Project, Stage
from annotation.pipeline import configure, export, ingest, iterate
from annotation.pipeline.configure import LabelDraft

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
TOPICS = [
    LabelDraft("billing", "charges, refunds, invoices, payment methods", "b"),
    LabelDraft("delivery", "shipping, parcels, delays, addresses", "d"),
    LabelDraft("product quality", "defects, performance, materials, missing parts", "q"),
    LabelDraft("account access", "login, passwords, verification, account settings", "a"),
]
SENTIMENTS = [LabelDraft("好评", "满意、推荐", "1"), LabelDraft("差评", "不满意、失望", "2")]


class Command(BaseCommand):
    help = (
        "Load the two sample projects, run rounds on the English one with the embedded models, and write its Excel file. "
        "What is there already is kept, so a second run is quick."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--rounds", type=int, default=2, help="rounds that the English sample is to have (default: 2)"
        )
        parser.add_argument(
            "--with-workers",
            action="store_true",
            help="leave the work to running workers, as `up --demo` does",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        here = not options["with_workers"]
        work_quietly()
        try:
            project = self._load(
                "Customer messages",
                SAMPLES / "customer_messages.csv",
                task="topic",
                content=["text"],
                reference="topic",
                labels=TOPICS,
                here=here,
            )
            self._load(
                "商品评价",
                SAMPLES / "product_reviews_zh.csv",
                task="sentiment",
                content=["text"],
                reference="sentiment",
                labels=SENTIMENTS,
                here=here,
            )
            while self._rounds_done(project) < options["rounds"]:
                self._run_round(project, here=here)
            path = settings.EXPORT_DIR / "customer_messages.xlsx"
            path.parent.mkdir(parents=True, exist_ok=True)
            export.write_excel(project, path)
        except AnnotationError as error:
            raise CommandError(str(error)) from error
        self._print_result(project, path, seconds=time.monotonic() - started)

    def _load(
        self,
        name: str,
        path: Path,
        *,
        task: str,
        content: list[str],
        reference: str,
        labels: list[LabelDraft],
        here: bool,
    ) -> Project:
        user = console_user()
        found = Project.objects.filter(name=name, owner=user).order_by("pk").first()
        if (
            found
            and found.samples.exists()
            and not found.stages.active().filter(kind=Stage.Kind.IMPORT).exists()
        ):
            return found
        project = found or configure.create_project(name=name, task_type=task, owner=user)
        configure.set_labels(project, labels)
        stage = project.stages.active().filter(kind=Stage.Kind.IMPORT).first()
        if stage is None:
            upload = ingest.store_upload(project, open_as_upload(path), user)
            stage = ingest.start_import(
                project,
                upload,
                content_columns=content,
                id_column="id",
                reference_column=reference,
                user=user,
            )
        complete(stage, here=here)
        project.refresh_from_db()
        return project

    def _rounds_done(self, project: Project) -> int:
        return project.stages.filter(kind=Stage.Kind.SLM, status=Stage.Status.DONE).count()

    def _run_round(self, project: Project, *, here: bool) -> None:
        """One round more; a stage that an earlier run left is seen through first."""
        stage = project.stages.active().filter(kind__in=[Stage.Kind.LLM, Stage.Kind.SLM]).first()
        if stage is None:
            stage = iterate.start_round(project, started_from="llm", user=project.owner).stages.get()
        stage = complete(stage, here=here)
        assert stage.iteration is not None
        if stage.kind == Stage.Kind.LLM:
            complete(stage.iteration.stages.get(kind=Stage.Kind.SLM), here=here)

    def _print_result(self, project: Project, path: Path, *, seconds: float) -> None:
        iterations = list(project.iterations.prefetch_related("stages").order_by("number"))
        work = sum(stage.seconds for iteration in iterations for stage in iteration.stages.all())
        self.stdout.write(
            f"\nSample project “{project}”: {project.samples.count()} rows, accuracy against the reference labels\n\n"
            f"{accuracy_table(iterations)}\n\n"
            f"Excel file: {path}\n"
            f"Time: {seconds:.0f} s now; {work:.0f} s of labeling and training in all rounds\n"
        )
