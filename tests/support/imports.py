"""Files uploaded and imported, as a person does it."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from annotation.jobs.lease import Lease
from annotation.jobs.work import work_on
from annotation.models import Project, Stage, Upload
from annotation.pipeline.ingest import start_import
from annotation.pipeline.ingest.column_roles import ColumnRoles, ImportChoices
from annotation.pipeline.ingest.import_report import ImportReport
from annotation.pipeline.ingest.upload import store_upload

ROLES = ("content_columns", "id_column", "reference_column", "column_kinds")


def table(*rows: str, header: str = "id,text,truth") -> bytes:
    return "\n".join([header, *rows, ""]).encode()


def numbered(count: int, *, first: int = 0) -> list[str]:
    return [
        f"r{number},text number {number},{'good' if number % 2 else 'bad'}"
        for number in range(first, first + count)
    ]


def upload(project: Project, data: bytes, name: str = "letters.csv") -> Upload:
    return store_upload(project, SimpleUploadedFile(name, data), project.owner)


def start(project: Project, stored: Upload, **mapping: Any) -> Stage:
    then, mapping = (
        mapping.pop("then", ()),
        {"content_columns": ["text"], "reference_column": "truth", **mapping},
    )
    roles = ColumnRoles(**{name: mapping.pop(name) for name in ROLES if name in mapping})
    return start_import.start_import(
        project, stored, roles, user=project.owner, choices=ImportChoices(**mapping), then=then
    )


def run(stage: Stage) -> Stage:
    with work_on(stage.pk) as job:
        assert job is not None
        start_import.run_import(job)
    stage.refresh_from_db()
    return stage


def load(project: Project, data: bytes, **mapping: Any) -> Stage:
    return run(start(project, upload(project, data), **mapping))


def left_out(stage: Stage) -> list[tuple[int, str, str]]:
    return [(line, outcome, str(reason)) for line, outcome, reason in report_of(stage).rows]


def report_of(stage: Stage) -> ImportReport:
    return ImportReport.of(Upload.objects.get(pk=stage.detail["upload"]))


def texts(project: Project) -> list[str]:
    return list(project.samples.order_by("position").values_list("text", flat=True))


class StopAfter:
    """Makes the import see a requested action after some batches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stage: Stage, action: str, *, batches: int) -> None:
        self._left = batches
        original = Lease.should_stop

        def should_stop(lease: Lease) -> bool:
            self._left -= 1
            if self._left == 0:
                Stage.objects.filter(pk=stage.pk).update(requested_action=action)
                lease._next_poll = 0.0
            return original(lease)

        monkeypatch.setattr(Lease, "should_stop", should_stop)
