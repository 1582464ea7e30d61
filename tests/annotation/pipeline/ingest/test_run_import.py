from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotation.errors import InvalidFileError
from annotation.models import Project, Sample, Stage, Upload
from annotation.pipeline.ingest.reference_labels import (
    Suggestion,
    label_finder,
    match_references,
    suggest_labels,
    unknown_references,
)
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
from tests.support.factories import make_user
from tests.support.imports import left_out, load, numbered, report_of, run, start, table, texts, upload
from tests.support.malformed import CASES
from tests.support.malformed.case import Case

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return configure.create_project(name="Letters", task_type="sentiment", owner=make_user())


# --- What becomes of rows ---------------------------------------------------------------------------------------------


def test_every_cell_is_stored_as_it_stood(project: Project) -> None:
    stage = load(project, table("007,NA,1.10", "=1+1, two  blanks ,null"), reference_column="")
    assert stage.status == Stage.Status.DONE
    assert [sample.fields for sample in project.samples.all()] == [
        ["007", "NA", "1.10"],
        ["=1+1", " two  blanks ", "null"],
    ]
    assert texts(project) == ["NA", " two  blanks "]


def test_read_is_imported_and_duplicates_and_rejected(project: Project) -> None:
    stage = load(
        project,
        table("a,one,bad", "b,two,bad,surplus", "c,,good", "a,one,good", "a,other,good", "d,three,good"),
        id_column="id",
    )
    report = report_of(stage)
    assert (report.read, report.imported, report.duplicates, report.rejected) == (6, 2, 1, 3)
    assert [(row[0], row[1]) for row in report.rows] == [
        (3, "rejected"),
        (4, "rejected"),
        (5, "duplicate"),
        (6, "rejected"),
    ]
    assert texts(project) == ["one", "three"]
    assert list(project.samples.values_list("position", flat=True)) == [0, 1]


@pytest.mark.parametrize("text", ["", "   ", "\u200b\u200b", "\ufeff \u00a0", '"\n"'])
def test_a_text_with_nothing_to_see_is_rejected(project: Project, text: str) -> None:
    stage = load(project, table(f"a,{text},bad", "b,two,bad"))
    assert left_out(stage) == [(2, "rejected", "the text is empty")]


def test_equal_texts_in_one_file_are_kept_and_counted(project: Project) -> None:
    stage = load(project, table("a,same,bad", "b,same,good", "c,other,bad"))
    assert report_of(stage).warnings == {
        "rows with the same text as another row; labeling them costs nothing extra": 1
    }
    assert texts(project) == ["same", "same", "other"]


def test_several_content_columns_make_one_text(project: Project) -> None:
    load(
        project,
        table("a title,the body,bad", ",only body,bad", header="title,body,truth"),
        content_columns=["title", "body"],
    )
    assert texts(project) == ["a title\nthe body", "only body"]


def test_a_table_row_is_shown_with_its_column_names() -> None:
    project = configure.create_project(name="People", task_type="tabular", owner=make_user())
    load(project, table("3,Ann,yes", header="age,name,truth"), content_columns=["age", "name"])
    assert texts(project) == ["age: 3\nname: Ann"]


def test_a_row_with_a_very_long_id_is_rejected(project: Project) -> None:
    stage = load(project, table(f"{'x' * 201},one,bad", "b,two,bad"), id_column="id")
    assert "the id has 201 characters; at most 200" in left_out(stage)[0][2]


def test_only_the_first_thousand_rejected_rows_are_named(project: Project) -> None:
    stage = load(project, table("a,one,bad", *["b,,bad"] * 1500))
    report = report_of(stage)
    assert (report.rejected, len(report.rows)) == (1500, 1000)


def attempt(project: Project, data: bytes, column: str) -> Stage | InvalidFileError:
    try:
        stored = upload(project, data)
        column = column if column in stored.columns else stored.columns[-1]
        return run(start(project, stored, content_columns=[column], reference_column=""))
    except InvalidFileError as error:
        return error


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_malformed_file_is_imported_by_the_same_rules_or_leaves_nothing(
    project: Project, case: Case
) -> None:
    column = "text" if "text" in case.columns else case.columns[-1]
    stage = attempt(project, case.make(), column)
    empty = case.rows is not None and not any(row[case.columns.index(column)].strip() for row in case.rows)
    if isinstance(stage, InvalidFileError):
        assert case.error or empty
        assert re.search(case.error, str(stage))
        assert not project.uploads.exists()
        assert list(django_settings.UPLOAD_DIR.iterdir()) == []
        return
    if stage.status == Stage.Status.FAILED:
        assert case.error or empty
        assert re.search(case.error, stage.error)
        assert not project.samples.exists()
        return
    assert stage.status == Stage.Status.DONE
    report = report_of(stage)
    assert report.read == report.imported + report.duplicates + report.rejected
    assert project.samples.count() == report.imported
    if case.rows is not None:
        place = case.columns.index(column)
        stored = Upload.objects.get()
        judged_a_row = stored.reading["header"] == 0 and case.reading.get("header") != 0
        rows = [list(case.columns), *case.rows] if judged_a_row else case.rows
        expected = [row for row in rows if row[place].strip()]
        assert [sample.fields for sample in project.samples.order_by("position")] == expected


# --- Reference labels -------------------------------------------------------------------------------------------------


def test_reference_values_are_suggested_as_labels_the_most_frequent_first(project: Project) -> None:
    load(project, table("a,one,Good", "b,two,bad", "c,three, good ", "d,four,Good", "e,five,"))
    assert suggest_labels(project) == Suggestion(["Good", "bad"], 0)


def test_hundreds_of_labels_are_suggested(project: Project) -> None:
    load(project, table(*[f"{number},text {number},value {number % 300}" for number in range(600)]))
    suggestion = suggest_labels(project)
    assert (len(suggestion.names), suggestion.left_out_rows) == (300, 0)


def test_rows_with_values_that_can_be_no_label_are_counted(project: Project) -> None:
    values = [f"value {number}" for number in range(1_005)] + ["long " * 30, "value 1004"]
    load(project, table(*[f"{number},text {number},{value}" for number, value in enumerate(values)]))
    suggestion = suggest_labels(project)
    assert (len(suggestion.names), suggestion.left_out_rows) == (1_000, 7)


def test_references_are_linked_when_the_labels_are_set_after_the_import(project: Project) -> None:
    load(project, table("a,one,Good", "b,two, BAD ", "c,three,strange", "d,four,"))
    assert not project.samples.filter(reference__isnull=False).exists()
    configure.set_labels(project, [LabelDraft("good"), LabelDraft("bad")])
    assert match_references(project) == 2
    found = project.samples.order_by("position").values_list("reference__name", flat=True)
    assert list(found) == ["good", "bad", None, None]


def test_characters_without_a_width_make_no_other_label(project: Project) -> None:
    load(
        project,
        table("a,one,\u200bgood\ufeff", "b,two,good", "c,three,very\u00a0good\u00a0", "d,four,very good"),
    )
    assert suggest_labels(project).names == ["good", "very good"]
    configure.set_labels(project, [LabelDraft("good"), LabelDraft("very good")])
    assert match_references(project) == 4


def test_references_are_linked_while_importing_when_the_labels_are_known(project: Project) -> None:
    configure.set_labels(project, [LabelDraft("好评"), LabelDraft("差评")])
    load(project, table("a,one,好评", "b,two, 差评"))
    assert list(project.samples.order_by("position").values_list("reference__name", flat=True)) == [
        "好评",
        "差评",
    ]


def test_a_renamed_label_keeps_the_references_that_it_had(project: Project) -> None:
    good, _bad = configure.set_labels(project, [LabelDraft("good"), LabelDraft("bad")])
    load(project, table("a,one,good", "b,two,bad"))
    good.name = "positive"
    good.save()
    assert match_references(project) == 2


# --- A second file ----------------------------------------------------------------------------------------------------


def test_a_later_file_is_appended_without_the_texts_that_are_there(project: Project) -> None:
    load(project, table(*numbered(1_200)))
    stage = load(project, table(*numbered(1_300, first=1_000)))
    report = report_of(stage)
    assert (report.imported, report.duplicates) == (1_100, 200)
    assert list(project.samples.order_by("position").values_list("position", flat=True)) == list(range(2_300))


def test_a_later_file_may_have_its_columns_in_another_order(project: Project) -> None:
    load(project, table("a,one,bad"))
    load(project, table("good,b,two", header="truth,id,text"))
    assert project.samples.get(position=1).fields == ["b", "two", "good"]


@pytest.mark.parametrize(
    ("header", "row", "sentence"),
    [("id,text", "b,two", "lacks: “truth”"), ("id,text,truth,more", "b,two,bad,x", "lack: “more”")],
)
def test_a_later_file_with_other_columns_is_refused(
    project: Project, header: str, row: str, sentence: str
) -> None:
    load(project, table("a,one,bad"))
    with pytest.raises(InvalidFileError, match=sentence):
        start(project, upload(project, table(row, header=header)), reference_column="")
    assert not project.stages.active().exists()


def test_a_later_file_must_be_mapped_as_the_first(project: Project) -> None:
    load(project, table("a,one,bad"))
    with pytest.raises(InvalidFileError, match="mapped already"):
        start(project, upload(project, table("b,two,bad")), reference_column="", content_columns=["truth"])


def test_queries_of_an_append_do_not_grow_with_the_project(
    project: Project,
) -> None:
    def queries(data: bytes) -> int:
        stage = start(project, upload(project, data))
        with CaptureQueriesContext(connection) as captured:
            run(stage)
        return len(captured)

    queries(table(*numbered(10)))
    few = queries(table(*numbered(500, first=10)))
    load(project, table(*numbered(5_000, first=510)))
    assert queries(table(*numbered(500, first=9_000))) == few


# --- From the command line --------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_command_imports_and_tells_of_every_row(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "letters.tsv"
    path.write_text("id\ttext\na\tone\nb\t\nc\tthree\n", encoding="utf-8")
    call_command("import", str(path), project=project.pk, content=["text"], id="id")
    out = capsys.readouterr().out
    assert "3 rows read = 2 imported + 0 duplicates + 1 rejected" in out
    assert "line 3 rejected: the text is empty" in out
    assert texts(project) == ["one", "three"]


def test_the_command_fails_with_a_sentence(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "page.csv"
    path.write_text("<html></html>", encoding="utf-8")
    with pytest.raises(CommandError, match="HTML"):
        call_command("import", str(path), project=project.pk, content=["text"])
    with pytest.raises(CommandError, match="There is no project 99"):
        call_command("import", str(path), project=99, content=["text"])


def test_samples_of_the_command_and_of_the_pages_are_alike(project: Project) -> None:
    load(project, table("a,one,bad"))
    sample = Sample.objects.get()
    plain = Sample(project=project, position=0, text="one", fields=[], content_hash="")
    for name in ("source", "flag", "round", "version", "label_id", "risk", "clean_rank", "corrected_at"):
        assert getattr(sample, name) == getattr(plain, name)


NESTED = (
    b'{"data": {"text": "a fine film"}, "label": ["good"]}\n{"data": {"text": "a poor film"}, "label": []}\n'
)


def test_a_field_within_another_is_content_and_a_list_with_one_label_is_the_label(project: Project) -> None:
    stage = load(project, NESTED, content_columns=["data.text"], reference_column="label")
    assert stage.status == Stage.Status.DONE
    assert texts(project) == ["a fine film", "a poor film"]
    assert project.columns == ["data", "label", "data.text"]
    assert suggest_labels(project).names == ["good"]
    configure.set_labels(project, [LabelDraft("good"), LabelDraft("bad")])
    assert match_references(project) == 1
    assert unknown_references(project).rows == 0


def test_a_name_is_compared_exactly_before_it_is_taken_for_another(project: Project) -> None:
    configure.set_labels(project, [LabelDraft("[x]"), LabelDraft('["y"]')])
    find = label_finder(project)
    names = dict(project.labels.values_list("pk", "name"))
    assert [names.get(find(cell) or 0) for cell in ("[X]", '["y"]', " [x] ", '["[x]"]', '["a", "b"]')] == [
        "[x]",
        '["y"]',
        "[x]",
        "[x]",
        None,
    ]
