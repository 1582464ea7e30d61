"""Rows with the same text are found exactly: over many imports, in the middle of one, and after one was taken back."""

from __future__ import annotations

import hashlib
import importlib
import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from annotation.jobs import state
from annotation.jobs.work import work_on
from annotation.models import Project, Sample, Stage, TextPage, Upload
from annotation.pipeline.ingest import duplicates, start_import
from annotation.pipeline.ingest.duplicates import KnownTexts, index_rows, rows_with_texts, store_run
from annotation.pipeline.ingest.import_report import ImportReport
from tests.support.factories import make_project
from tests.support.imports import (
    StopAfter,
    load,
    numbered,
    report_of,
    run,
    start,
    table,
    texts,
    upload,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return make_project(rows=0)


def digest(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def add(project: Project, hashes: Sequence[str]) -> int:
    """Store rows with these hashes behind the last row; return the first one's position."""
    first = project.samples.count()
    Sample.objects.bulk_create(
        Sample(project=project, position=place, text=each, fields=[], content_hash=each)
        for place, each in enumerate(hashes, start=first)
    )
    return first


def finish(project: Project, start: int) -> int:
    run, count = index_rows(project, start)
    store_run(project, run)
    return count


def stored_pages() -> list[Any]:
    pages = TextPage.objects.order_by("pk")
    return [
        (page.run_start, page.run_end, page.smallest, page.largest, bytes(page.keys), bytes(page.positions))
        for page in pages
    ]


def positions(project: Project, *hashes: str) -> list[int]:
    return list(rows_with_texts(project, hashes).values_list("position", flat=True))


def test_rows_are_found_over_many_imports_of_any_size(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "PAGE_ENTRIES", 16)
    chance = random.Random(0)
    stored: list[str] = []
    for _ in range(40):
        new = [digest(str(chance.randrange(600))) for _ in range(chance.choice((1, 3, 20, 90)))]
        assert KnownTexts(project, len(stored)).among(new) == set(new) & set(stored)
        assert finish(project, add(project, new)) == len(set(new))
        stored += new
    for text in map(digest, map(str, range(600))):
        assert positions(project, text) == [place for place, each in enumerate(stored) if each == text]
    asked = [digest(str(number)) for number in range(0, 600, 7)]
    assert positions(project, *asked) == [place for place, each in enumerate(stored) if each in asked]


def test_runs_stay_few_and_cover_every_row_once(project: Project) -> None:
    for _ in range(64):
        finish(project, add(project, [digest(str(project.samples.count()))]))
    runs = sorted(set(TextPage.objects.values_list("run_start", "run_end")))
    assert len(runs) <= 7
    assert [start for start, _end in runs] == [0, *(end for _start, end in runs[:-1])]
    assert runs[-1][1] == 64
    assert sum(len(page.positions) for page in TextPage.objects.all()) == 64 * 4


def test_a_text_whose_hash_begins_alike_is_another_text(project: Project) -> None:
    one, two, three = ("12345678" + end * 32 for end in "abc")
    finish(project, add(project, [one, two]))
    assert KnownTexts(project, 2).among([two, three]) == {two}
    assert positions(project, two) == [1]
    assert positions(project, three) == []


def test_a_text_on_more_rows_than_a_page_has_entries_is_found_on_all(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "PAGE_ENTRIES", 4)
    hashes = [digest("other"), *[digest("same")] * 30, digest("third")]
    assert finish(project, add(project, hashes)) == 3
    assert positions(project, digest("same")) == list(range(1, 31))
    assert KnownTexts(project, len(hashes)).among([digest("same"), digest("new")]) == {digest("same")}


def test_rows_of_an_import_at_work_are_found_and_known_texts_end_before_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(project, table(*numbered(50)))
    stage = start(project, upload(project, table(*numbered(2_500, first=50))))
    StopAfter(monkeypatch, stage, Stage.RequestedAction.PAUSE, batches=2)
    run(stage)
    assert positions(project, digest("text number 7"), digest("text number 700")) == [7, 700]
    assert KnownTexts(project, 50).among([digest("text number 700")]) == set()
    state.resume(stage)
    assert run(stage).status == Stage.Status.DONE
    assert report_of(stage).imported == 2_500
    assert positions(project, digest("text number 7"), digest("text number 2549")) == [7, 2_549]


def test_what_a_cancelled_import_brought_is_not_known(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(project, table(*numbered(50)))
    stage = start(project, upload(project, table(*numbered(2_500, first=50))))
    StopAfter(monkeypatch, stage, Stage.RequestedAction.CANCEL, batches=2)
    run(stage)
    assert stage.status == Stage.Status.CANCELLED
    again = load(project, table(*numbered(100)))
    assert (report_of(again).imported, report_of(again).duplicates) == (50, 50)
    assert texts(project) == [f"text number {number}" for number in range(100)]
    assert positions(project, digest("text number 60")) == [60]


def test_an_import_that_died_after_its_last_write_ends_the_same(project: Project) -> None:
    load(project, table(*numbered(30)))
    stage = start(project, upload(project, table(*numbered(30, first=20))))
    with work_on(stage.pk) as job:
        assert job is not None
        start_import.run_import(job)
        pages = list(TextPage.objects.order_by("pk").values())
        start_import.run_import(job)  # as the next worker would
    assert list(TextPage.objects.order_by("pk").values()) == pages
    assert (report_of(stage).imported, report_of(stage).duplicates) == (20, 10)
    assert project.samples.count() == 50


def test_rows_are_made_known_with_the_end_of_their_import_or_not_at_all(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = start(project, upload(project, table(*numbered(30))))
    save = ImportReport.save

    def fail_at_the_end(report: ImportReport, stored: Upload) -> None:
        save(report, stored)
        if report.finished:
            raise RuntimeError("the disk is gone")

    monkeypatch.setattr(ImportReport, "save", fail_at_the_end)
    assert run(stage).status == Stage.Status.FAILED
    assert not TextPage.objects.exists()
    monkeypatch.undo()
    state.resume(stage)
    assert run(stage).status == Stage.Status.DONE
    assert KnownTexts(project, 30).among([digest("text number 29")]) == {digest("text number 29")}


def test_the_migration_makes_the_rows_of_finished_imports_known(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(project, table(*numbered(5_000)))
    stage = start(project, upload(project, table(*numbered(2_500, first=5_000))))
    StopAfter(monkeypatch, stage, Stage.RequestedAction.PAUSE, batches=2)
    run(stage)
    expected = stored_pages()
    TextPage.objects.all().delete()
    make_project(rows=0, owner=project.owner)
    migration = importlib.import_module("annotation.migrations.0018_index_texts")
    migration.index_texts(apps, SimpleNamespace(connection=connection))
    assert stored_pages() == expected
    state.resume(stage)
    assert run(stage).status == Stage.Status.DONE
    assert positions(project, digest("text number 4999"), digest("text number 7499")) == [4_999, 7_499]
