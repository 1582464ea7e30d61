"""Files that are uploaded, looked at and read in another way."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import translation

from annotation.errors import AnnotationError, InvalidFileError
from annotation.messages import message_text
from annotation.models import Project, Stage, Upload
from annotation.pipeline.ingest.upload import read_preview, shown_name, store_upload
from annotation.pipeline.project import configure
from tests.support.factories import make_user
from tests.support.imports import left_out, load, numbered, report_of, run, start, table, texts, upload

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return configure.create_project(name="Letters", task_type="sentiment", owner=make_user())


# --- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        ({"content_columns": []}, "at least one column"),
        ({"content_columns": ["body"]}, "no column “body”; it has “id”, “text”, “truth”"),
        ({"content_columns": ["text", "text"]}, "chosen twice"),
        ({"id_column": "key"}, "no column “key”"),
        ({"content_columns": ["text", "truth"]}, "must not see it"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(
    project: Project, mapping: dict[str, Any], sentence: str
) -> None:
    stored = upload(project, table("a,one,bad"))
    with pytest.raises(InvalidFileError, match=sentence):
        start(project, stored, **mapping)
    assert not project.stages.exists()


def test_an_upload_that_is_too_large_is_refused_while_it_streams(project: Project, settings: Any) -> None:
    settings.UPLOAD_MAX_MB = 1
    with pytest.raises(InvalidFileError, match="larger than 1 MB"):
        upload(project, table(*numbered(50_000)))
    assert list(settings.UPLOAD_DIR.iterdir()) == []
    assert not project.uploads.exists()


def test_a_disk_that_is_full_leaves_no_file_and_says_so(project: Project, settings: Any) -> None:
    class Full(SimpleUploadedFile):
        def chunks(self, chunk_size: int | None = None) -> Any:
            yield b"id,text\n"
            raise OSError(28, "No space left on device")

    with pytest.raises(AnnotationError, match="No space left on device"):
        store_upload(project, Full("a.csv", b""), project.owner)
    assert list(settings.UPLOAD_DIR.iterdir()) == []


def test_more_rows_than_allowed_leave_no_row(project: Project, settings: Any) -> None:
    settings.MAX_ROWS = 2_500
    stage = load(project, table(*numbered(3_000)))
    assert stage.status == Stage.Status.FAILED
    assert "more than 2,500 rows" in message_text(stage.error)
    assert not project.samples.exists()


def test_a_fault_far_below_takes_back_the_rows_above(project: Project) -> None:
    stage = load(project, table(*numbered(2_500)) + b'x,"never closed,bad\n')
    assert stage.status == Stage.Status.FAILED
    assert "quote opened at line 2,502" in message_text(stage.error)
    assert not project.samples.exists()
    assert report_of(stage).read == 0


def test_one_bad_row_refuses_the_file_where_that_was_asked_for(project: Project) -> None:
    stage = load(project, table(*numbered(1_500), "x,,bad"), on_bad_row="reject")
    assert stage.status == Stage.Status.FAILED
    assert "Line 1,502: the text is empty. Nothing was imported" in message_text(stage.error)
    assert not project.samples.exists()


def test_a_file_without_one_good_row_is_refused_with_the_reason(project: Project) -> None:
    stage = load(project, table("a,,bad", "b,,bad"))
    assert "None of the 2 rows could be imported. The first, line 2: the text is empty" in message_text(
        stage.error
    )


def test_a_sentence_names_the_columns_briefly_however_long_they_are(project: Project) -> None:
    letters = upload(project, b"id,text\n" + b"1,some words\n" * 2_000)
    with pytest.raises(InvalidFileError, match="but no rows") as error:
        read_preview(letters, encoding="utf-16-le")
    assert len(str(error.value)) < 300


def test_a_file_of_a_header_only_is_refused(project: Project) -> None:
    with pytest.raises(InvalidFileError, match=r"column names .* but no rows"):
        upload(project, b"id,text\n")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("a\\b\\c.csv", "c.csv"),
        ("a\r\nb\x1b[31m.csv", "ab[31m.csv"),
        ("\u202egnp.csv", "gnp.csv"),
        ("x" * 300 + ".csv", "x" * 251 + ".csv"),
    ],
)
def test_the_shown_name_holds_no_path_and_no_control_character(name: str, shown: str) -> None:
    assert shown_name(name) == shown


def test_the_stored_name_has_nothing_of_the_uploaded_one(project: Project, settings: Any) -> None:
    stored = upload(project, table("a,one,bad"), name="evil.html")
    assert re.fullmatch("[0-9a-f]{32}", stored.stored_name)
    assert [path.name for path in settings.UPLOAD_DIR.iterdir()] == [stored.stored_name]


# --- Preview ----------------------------------------------------------------------------------------------------------


def test_the_preview_shows_twenty_rows_and_how_the_file_is_read(project: Project) -> None:
    preview = read_preview(upload(project, table(*numbered(50))))
    assert preview.columns == ("id", "text", "truth")
    assert len(preview.rows) == 20
    assert preview.rows[0] == ["r0", "text number 0", "bad"]
    assert (preview.reading.encoding, preview.reading.delimiter) == ("utf-8", ",")


def test_a_guessed_encoding_is_called_a_guess_and_can_be_changed(project: Project) -> None:
    stored = upload(project, "id,text\n1,dość miło\n2,plain\n".encode("cp1250"))
    first = read_preview(stored)
    assert any("is a guess" in warning for warning in first.warnings)
    second = read_preview(stored, encoding="cp1250")
    assert second.rows == [["1", "dość miło"], ["2", "plain"]]
    assert second.warnings == []
    assert Upload.objects.get(pk=stored.pk).reading["encoding"] == "cp1250"


def test_a_chosen_delimiter_is_kept_for_the_import(project: Project) -> None:
    stored = upload(project, b"id:text,more\n1:a,b\n")
    preview = read_preview(stored, delimiter="")
    assert preview.columns == ("id:text,more",)
    run(start(project, stored, content_columns=["id:text,more"], reference_column=""))
    assert texts(project) == ["1:a,b"]


def test_quotes_can_be_taken_as_characters_like_any_other(project: Project) -> None:
    stored = upload(project, b'text\n"one"\n"two" and more\n')
    assert read_preview(stored, quote='"').rows == [["one"]]
    assert read_preview(stored, quote="").rows == [['"one"'], ['"two" and more']]
    run(start(project, stored, content_columns=["text"], reference_column=""))
    assert texts(project) == ['"one"', '"two" and more']


@pytest.mark.parametrize(
    "choice", [{"encoding": "rot_13"}, {"delimiter": "xx"}, {"quote": "'"}, {"encoding": "../x"}]
)
def test_a_choice_that_is_not_offered_is_refused(project: Project, choice: Any) -> None:
    with pytest.raises(InvalidFileError, match="Choose one of"):
        read_preview(upload(project, table("a,one,bad")), **choice)


def test_the_same_file_is_recognised(project: Project) -> None:
    data = table(*numbered(5))
    load(project, data)
    assert (
        "This file has already been imported into the project."
        in read_preview(upload(project, data)).warnings
    )


def test_a_column_that_json_names_late_is_there_after_the_import(project: Project) -> None:
    data = b'{"text":"a"}\n' * 600 + b'{"text":"b","late":"x"}\n'
    stored = upload(project, data)
    assert stored.columns == ["text"]
    run(start(project, stored, reference_column=""))
    project.refresh_from_db()
    assert project.columns == ["text", "late"]
    assert project.samples.get(position=600).fields == ["b", "x"]
    assert project.samples.get(position=0).fields == ["a", ""]


def test_what_became_of_rows_is_told_to_each_reader_in_their_language(project: Project) -> None:
    first, second = (upload(project, table("a,one,bad", "b,,bad"), name) for name in ("a.csv", "b.csv"))
    with translation.override("zh-hans"):
        stage = start(project, first, then=[second])
    run(stage)
    following = project.stages.exclude(pk=stage.pk).get()
    run(following)
    for done in (stage, following):
        assert (3, "rejected", "the text is empty") in left_out(done)
        with translation.override("zh-hans"):
            assert (3, "rejected", "文本为空") in left_out(done)


def test_a_reason_that_an_earlier_version_stored_is_shown_as_it_is(project: Project) -> None:
    stage = load(project, table("a,one,bad"))
    Upload.objects.get().left_out.create(line=2, outcome="rejected", reason="文本为空")
    assert left_out(stage) == [(2, "rejected", "文本为空")]
