"""Exported files, read as other programs read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openpyxl

from annotation.jobs.work import work_on
from annotation.models import Project, Sample, Stage
from annotation.pipeline.export import run_export
from annotation.pipeline.project import configure
from tests.support.factories import make_user

NASTY = [
    "=1+1", "=cmd|'/C calc'!A0", "+1", "-1", "-1.5e3", "+cmd", "-cmd", "@SUM(1)", "\t=1", "\r=1", "'=1", "''=1", "'plain", "'-1",
    "a;=1", "'a;'=1", "a\t@b", "a; b", "a;-",
    "http://example.com/x", "mailto:a@b.c", "0012", "1e5", "TRUE", "#N/A", "<r>bold</r>", "<r><t>x</t></r>&amp;", "_x000D_", "a\x0bb\x1bc",
    "line\nbreak", "carriage\r\nreturn", " leading and trailing ", "quote \" and 'single'",
    "semi;colon, comma\ttab", "你好，世界 😀", "\u202eabc",
    "＝1+1", "a\u2028b\u0085c", "\ufffe", "x" * 32_767,
]  # fmt: skip


def nasty_project(texts: list[str]) -> Project:
    project = configure.create_project(name="Nasty =1+1", task_type="topic", owner=make_user())
    project.columns, project.content_columns = ["=id", "text"], ["text"]
    project.save()
    Sample.objects.bulk_create(
        Sample(
            project=project, position=place, text=text, fields=[f"-r{place}", text], content_hash=str(place)
        )
        for place, text in enumerate(texts)
    )
    return project


def rows_of(path: Path, sheet: str = "Rows") -> list[list[Any]]:
    book = openpyxl.load_workbook(path)
    return [[cell.value for cell in row] for row in book[sheet].iter_rows()]


def uploaded_cells(project: Project, columns: int) -> list[list[str]]:
    return [
        fields[:columns] for fields in project.samples.order_by("position").values_list("fields", flat=True)
    ]


def run(stage: Stage) -> Stage:
    with work_on(stage.pk) as job:
        assert job is not None
        run_export.run_export(job)
    stage.refresh_from_db()
    return stage
