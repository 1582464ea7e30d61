"""An export as a job: what is exported, which rows, and what becomes of a file that is not finished."""

from __future__ import annotations

import json
import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from annotation.errors import AnnotationError, NotReadyError
from annotation.jobs import state
from annotation.jobs.progress import Progress
from annotation.models import Correction, Flag, Label, Project, Source, Stage
from annotation.pipeline.export import rows as export_rows
from annotation.pipeline.export import run_export
from annotation.pipeline.review import corrections
from tests.support.exports import rows_of, run
from tests.support.factories import make_project

pytestmark = pytest.mark.django_db

# Parquet too, wherever the locked packages are installed.
FORMATS = [*("xlsx", "csv", "jsonl"), *(["parquet"] if find_spec("pyarrow") else [])]


@pytest.fixture
def project() -> Project:
    return make_project(rows=12)


# --- Which rows -------------------------------------------------------------------------------------------------------


def ids_of(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def judged(project: Project) -> Project:
    positive, _negative = project.label_list()
    rows = project.samples.all()
    rows.filter(position__lt=6).update(label=positive, risk=0.02, flag=Flag.RIGHT, source=Source.SLM)
    rows.filter(position__in=[6, 7]).update(label=positive, risk=0.4, flag=Flag.WRONG, source=Source.LLM)
    rows.filter(position=8).update(label=positive, risk=0.0, source=Source.PERSON)
    return project


@pytest.mark.parametrize(
    ("chosen", "expected", "name"),
    [
        ({}, range(12), "film-notes-2"),
        ({"query": "show=wrong"}, [6, 7], "film-notes-filtered-2"),
        ({"certainty": 0.95}, [0, 1, 2, 3, 4, 5, 8], "film-notes-from-95-percent-2"),
        (
            {"query": "source=slm&sort=risk", "certainty": 0.98},
            range(6),
            "film-notes-filtered-from-98-percent-2",
        ),
    ],
)
def test_only_the_chosen_rows_are_exported_and_the_files_name_says_so(
    judged: Project, chosen: dict[str, Any], expected: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_rows, "READ_ROWS", 2)
    stage = run(run_export.start_export(judged, user=judged.owner, format="jsonl", **chosen))
    assert stage.status == Stage.Status.DONE, stage.error
    assert ids_of(run_export.export_path(stage)) == [f"r{number}" for number in expected]
    assert stage.total == stage.done == len(expected)
    assert stage.detail["file"].startswith(name)


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"query": "show=inconsistent"}, "No row matches"),
        ({"query": "label=999"}, "no longer fits the project"),
        ({"certainty": 1.5}, "between 0 and 100 %"),
    ],
)
def test_a_choice_without_rows_is_refused(judged: Project, chosen: dict[str, Any], sentence: str) -> None:
    with pytest.raises(AnnotationError, match=sentence):
        run_export.start_export(judged, user=judged.owner, format="csv", **chosen)


def test_other_rows_make_another_export(judged: Project) -> None:
    first = run_export.start_export(judged, user=judged.owner, format="csv")
    other = run_export.start_export(judged, user=judged.owner, format="csv", query="show=wrong")
    assert other.pk != first.pk
    assert (
        run_export.start_export(judged, user=judged.owner, format="csv", query="?show=wrong").pk == other.pk
    )


def test_a_workbook_of_some_rows_says_which(judged: Project, tmp_path: Path) -> None:
    selection = export_rows.Selection.of(judged, query="show=right", certainty=0.9)
    assert run_export.write_excel(judged, tmp_path / "a.xlsx", selection=selection) == 6
    told = {line[0]: line[1] for line in rows_of(tmp_path / "a.xlsx", "How it was made")}
    assert told["rows in this file"] == "6 of the project's 12"
    assert told["only rows of the filter"] == "show=right"
    assert told["minimum probability that a label is right"] == "90.00%"
    assert "all rows of the project" in told["the sheet Quality"]


def test_a_workbook_names_the_rows_that_were_rejected_at_import(project: Project, tmp_path: Path) -> None:
    upload = project.uploads.create(
        name="notes.csv", stored_name="s", size=1, sha256="0",
        report={"finished": True, "read": 14, "imported": 12, "duplicates": 0, "rejected": 2},
    )  # fmt: skip
    upload.left_out.create(line=3, outcome="rejected", reason="the text is empty")
    upload.left_out.create(line=9, outcome="duplicate", reason="is there")
    upload.left_out.create(line=11, outcome="rejected", reason="the row has 3 fields, the header has 2 names")
    run_export.write_excel(project, tmp_path / "a.xlsx")
    lines = [line[:2] for line in rows_of(tmp_path / "a.xlsx", "How it was made")]
    assert ["notes.csv", "14 rows read = 12 imported + 0 duplicates + 2 rejected"] in lines
    at = lines.index(["Rejected at import: 2 of 14 rows of notes.csv", None])
    assert lines[at + 1 : at + 4] == [
        ["line 3", "the text is empty"],
        ["line 11", "the row has 3 fields, the header has 2 names"],
        [None, None],
    ]


def test_a_row_without_a_label_has_no_round(project: Project, tmp_path: Path) -> None:
    project.samples.filter(position__gt=0).update(label=project.label_list()[0], round=2)
    run_export.write_jsonl(project, tmp_path / "a.jsonl")
    rounds = [json.loads(line)["round"] for line in (tmp_path / "a.jsonl").read_text("utf-8").splitlines()]
    assert rounds == [None] + [2] * 11


# --- As a job ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_a_finished_export_lies_whole_under_its_own_name(project: Project, format: Any) -> None:
    stage = run(run_export.start_export(project, user=project.owner, format=format))
    assert (stage.status, stage.done, stage.total) == (Stage.Status.DONE, 12, 12)
    path = run_export.export_path(stage)
    assert path.stat().st_size == stage.detail["size"]
    assert stage.detail["file"].startswith("film-notes-")
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_double_click_makes_one_export(project: Project) -> None:
    first = run_export.start_export(project, user=project.owner, format="csv")
    assert run_export.start_export(project, user=project.owner, format="csv").pk == first.pk
    assert run_export.start_export(project, user=project.owner, format="xlsx").pk != first.pk


def test_an_export_that_is_not_finished_is_not_offered(project: Project) -> None:
    stage = run_export.start_export(project, user=project.owner, format="csv")
    with pytest.raises(NotReadyError, match="not finished"):
        run_export.export_path(stage)


def test_what_cannot_be_exported_is_refused(project: Project) -> None:
    with pytest.raises(AnnotationError, match="no export format “pdf”"):
        run_export.start_export(project, user=project.owner, format="pdf")
    project.samples.all().delete()
    with pytest.raises(NotReadyError, match="no rows to export"):
        run_export.start_export(project, user=project.owner, format="csv")


@pytest.mark.parametrize("format", ["xlsx", "csv"])
def test_a_cancelled_export_leaves_no_file(
    project: Project, format: Any, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    stage = run_export.start_export(project, user=project.owner, format=format)
    monkeypatch.setattr(export_rows, "TELL_ROWS", 5)
    original = Progress.report

    def report(progress: Progress[Any], **told: Any) -> None:
        original(progress, **told)
        if told.get("done") == 5:
            state.request_cancel(stage)
            progress._lease._next_poll = 0.0

    monkeypatch.setattr(Progress, "report", report)
    assert run(stage).status == Stage.Status.CANCELLED
    assert list(settings.EXPORT_DIR.iterdir()) == []


def leave_part(settings: Any, stage: Stage, *, attempt: int) -> Path:
    """The working folder of an attempt that was killed."""
    left: Path = settings.EXPORT_DIR / f"{stage.run_id}.{attempt}.part"
    left.mkdir(parents=True)
    (left / "sheet1.tmp").write_bytes(b"half")
    return left


def test_an_export_whose_worker_was_killed_is_begun_anew_and_its_part_removed(
    project: Project, settings: Any
) -> None:
    stage = run_export.start_export(project, user=project.owner, format="csv")
    leave_part(settings, stage, attempt=7)
    path = run_export.export_path(run(stage))
    assert [each.name for each in settings.EXPORT_DIR.iterdir()] == [path.name]


def test_a_worker_that_lost_its_lease_offers_no_file(
    project: Project, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = run_export.start_export(project, user=project.owner, format="csv")
    write = run_export.write_csv

    def write_and_lose(*arguments: Any, **more: Any) -> int:
        Stage.objects.filter(pk=stage.pk).update(attempt=99)
        return write(*arguments, **more)

    monkeypatch.setitem(run_export.WRITERS, "csv", write_and_lose)
    run(stage)
    assert list(settings.EXPORT_DIR.iterdir()) == []


def test_what_a_killed_attempt_left_is_removed_once_nobody_goes_on_with_it(
    project: Project, settings: Any
) -> None:
    stage = run_export.start_export(project, user=project.owner, format="csv")
    left = leave_part(settings, stage, attempt=1)
    assert run_export.remove_old_exports() == 0
    assert left.exists()
    state.request_cancel(stage)
    assert run_export.remove_old_exports() == 1
    assert not left.exists()


def test_old_exports_are_removed_and_the_link_says_so(project: Project, settings: Any) -> None:
    old, new = (
        run(run_export.start_export(project, user=project.owner, format=name)) for name in ("csv", "jsonl")
    )
    long_ago = time.time() - settings.EXPORT_DAYS * 86_400 - 1
    os.utime(run_export.export_path(old), (long_ago, long_ago))
    assert run_export.remove_old_exports() == 1
    assert run_export.export_path(new).exists()
    with pytest.raises(NotReadyError, match="kept for 7 days"):
        run_export.export_path(old)


def test_the_command_writes_the_file_that_its_name_asks_for(project: Project, tmp_path: Path) -> None:
    call_command("export", project.pk, str(tmp_path / "out.xlsx"))
    assert len(rows_of(tmp_path / "out.xlsx")) == 13
    with pytest.raises(CommandError, match="must end in one of"):
        call_command("export", project.pk, str(tmp_path / "out.pdf"))
    with pytest.raises(CommandError, match="can't be written"):
        call_command("export", project.pk, str(tmp_path / "no" / "folder" / "out.csv"))
    assert [path.name for path in tmp_path.iterdir()] == ["out.xlsx"]


def test_the_command_writes_only_the_rows_that_are_asked_for(judged: Project, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    call_command("export", judged.pk, str(path), filter="show=right", certainty=90.0)
    assert ids_of(path) == [f"r{number}" for number in range(6)]
    with pytest.raises(CommandError, match="No row matches"):
        call_command("export", judged.pk, str(path), filter="show=inconsistent")


def test_a_correction_that_was_withdrawn_is_exported_as_the_machines_label(
    project: Project, tmp_path: Path
) -> None:
    label = Label.objects.filter(project=project).first()
    assert label is not None
    sample = project.samples.get(position=0)
    corrections.correct_sample(sample.pk, label_id=label.pk, user=project.owner, seen_version=0)
    corrections.correct_sample(sample.pk, label_id=None, user=project.owner, seen_version=1)
    run_export.write_jsonl(project, tmp_path / "a.jsonl")
    row = json.loads((tmp_path / "a.jsonl").read_text("utf-8").splitlines()[0])
    assert (row["final_label"], row["source"], row["corrected_by"]) == ("", "", "")
    assert Correction.objects.count() == 2
