"""``manage.py import``: what the pages offer, without a browser."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from annotation.jobs import kinds
from annotation.jobs.work import Job
from annotation.management import console
from annotation.models import Activity, Project, Stage, Upload
from annotation.pipeline.export import run_export
from annotation.pipeline.ingest.upload import waiting_uploads
from annotation.pipeline.project import configure
from tests.support.factories import make_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def project() -> Project:
    return configure.create_project(name="Letters", task_type="tabular", owner=make_user())


def put(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def run_import(project: Project, *arguments: str) -> str:
    output = StringIO()
    call_command("import", *arguments, "--project", str(project.pk), stdout=output, stderr=output)
    return output.getvalue()


def stored(project: Project) -> list[Any]:
    return list(project.samples.order_by("position").values_list("fields", flat=True))


def test_what_the_columns_hold_can_be_said(project: Project, tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "age,a=b\n40,x\n41,y\n")
    run_import(
        project, path, "--content", "age", "--content", "a=b", "--kind", "age=text", "--kind", "a=b=text"
    )
    project.refresh_from_db()
    assert project.column_kinds == {"age": "text", "a=b": "text"}
    assert Activity.objects.get(project=project).what == "a.csv"


def test_a_file_that_would_be_refused_as_it_is_read_is_taken_as_the_person_says(
    project: Project, tmp_path: Path
) -> None:
    path = put(tmp_path, "a.csv", "text\nDear Sir,1\nDear Madam,2\n")
    with pytest.raises(CommandError, match="The header has 1 name, but the rows have 2 fields"):
        run_import(project, path)
    run_import(project, path, "--delimiter", "")
    assert stored(project) == [["Dear Sir,1"], ["Dear Madam,2"]]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--content", "age", "--kind", "age"], "Write it as COLUMN=KIND"),
        (["--content", "age", "--kind", "age=poem"], "Choose one of: number, category, text"),
        (["--content", "year"], "The file has no column “year”"),
        (["--content", "age", "--delimiter", "x"], "There is no delimiter “x” here"),
        (["--content", "age", "--encoding", "ebcdic"], "There is no encoding “ebcdic” here"),
        ([], "Say with --content which"),
        (["--content", "age", "--user", "nobody"], "There is no user 'nobody'"),
    ],
)
def test_what_does_not_fit_gets_a_sentence_and_leaves_nothing_waiting(
    project: Project, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    with pytest.raises(CommandError, match=sentence):
        run_import(project, put(tmp_path, "a.csv", "age,town\n40,x\n"), *arguments)
    assert waiting_uploads(project) == []
    assert not Upload.objects.exists()
    assert not project.samples.exists()


def test_several_files_are_imported_one_after_the_other(project: Project, tmp_path: Path) -> None:
    first = put(tmp_path, "a.csv", "id;text\n1;one\n")
    second = put(tmp_path, "b.jsonl", '{"text": "two", "id": "2"}\n{"text": "one", "id": "1"}\n')
    told = run_import(project, first, second, "--content", "text", "--id", "id")
    assert "a.csv:\n1 rows read = 1 imported + 0 duplicates + 0 rejected" in told
    assert "b.jsonl:\n2 rows read = 1 imported + 1 duplicates + 0 rejected" in told
    assert stored(project) == [["1", "one"], ["2", "two"]]


def test_no_file_is_begun_if_a_later_one_cannot_be_read(project: Project, tmp_path: Path) -> None:
    first, second = put(tmp_path, "a.csv", "text\none\n"), put(tmp_path, "b.csv", "<html></html>")
    with pytest.raises(CommandError, match=r"b\.csv: .*HTML"):
        run_import(project, first, second, "--content", "text")
    assert stored(project) == []
    assert not Upload.objects.exists()


def test_each_line_can_be_a_text(project: Project, tmp_path: Path) -> None:
    run_import(project, put(tmp_path, "a.txt", 'one, two\n"three\n'), "--lines")
    assert stored(project) == [["one, two"], ['"three']]


def test_how_a_file_is_read_and_which_rows_are_kept_can_be_said(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("A title\nid|text\n1|grün, sehr\n2|\n".encode("cp1252"))
    run_import(
        project, str(path), "--content", "text", "--encoding", "cp1252", "--delimiter", "|", "--header", "2", "--keep-empty"
    )  # fmt: skip
    assert stored(project) == [["1", "grün, sehr"], ["2", ""]]


def test_one_bad_row_can_refuse_the_file(project: Project, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"Line 3: the text is empty\. Nothing was imported"):
        run_import(project, put(tmp_path, "a.csv", "id,text\n1,a\n2,\n"), "--content", "text", "--reject")
    assert stored(project) == []


def test_the_help_names_every_kind_and_encoding(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call_command("import", "--help")
    told = " ".join(capsys.readouterr().out.split())
    for word in ("COLUMN=KIND", "number, category, text", "gb18030", "tab", "--reject", "several"):
        assert word in told


def test_an_interrupted_import_says_what_becomes_of_it(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_job: Job[Any]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(kinds.IMPORT.run, interrupt)
    with pytest.raises(CommandError, match="goes on where it was as soon as a worker runs") as error:
        run_import(project, put(tmp_path, "a.csv", "text\na\nb\n"))
    assert error.value.returncode == console.INTERRUPTED
    assert project.stages.get().status == Stage.Status.QUEUED


def test_an_interrupted_export_leaves_no_file(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_import(project, put(tmp_path, "a.csv", "text\na\nb\n"))

    def interrupt(*_arguments: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(run_export.WRITERS, "csv", interrupt)
    (tmp_path / "out").mkdir()
    with pytest.raises(CommandError, match="no file was written") as error:
        call_command("export", str(project.pk), str(tmp_path / "out" / "letters.csv"))
    assert error.value.returncode == console.INTERRUPTED
    assert list((tmp_path / "out").iterdir()) == []
