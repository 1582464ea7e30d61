from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from annotation.errors import AnnotationError, BusyError, InvalidFileError, LeaseLostError
from annotation.jobs import state
from annotation.jobs.lease import Lease
from annotation.jobs.reaper import reap
from annotation.jobs.work import work_on
from annotation.messages import message_text
from annotation.models import Project, Sample, Stage, Upload
from annotation.pipeline.ingest import start_import
from annotation.pipeline.ingest.column_roles import ColumnRoles, ImportChoices
from annotation.pipeline.ingest.discard_import import cancel_import, check_no_leftovers
from annotation.pipeline.ingest.duplicates import rows_with_texts
from annotation.pipeline.ingest.import_report import ImportReport
from annotation.pipeline.ingest.reference_labels import match_references, suggest_labels
from annotation.pipeline.ingest.upload import read_preview, shown_name, store_upload
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
from tests.support.factories import make_user
from tests.support.malformed import CASES
from tests.support.malformed.case import Case

pytestmark = pytest.mark.django_db

ROLES = ("content_columns", "id_column", "reference_column", "column_kinds")


@pytest.fixture
def project() -> Project:
    return configure.create_project(name="Letters", task_type="sentiment", owner=make_user())


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


# --- What becomes of rows -----------------------------------------------------------------------------------------


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
        return load(project, data, content_columns=[column], reference_column="")
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
        expected = [row for row in case.rows if row[place].strip()]
        assert [sample.fields for sample in project.samples.order_by("position")] == expected


# --- Reference labels ---------------------------------------------------------------------------------------------


def test_reference_values_are_suggested_as_labels_the_most_frequent_first(project: Project) -> None:
    load(project, table("a,one,Good", "b,two,bad", "c,three, good ", "d,four,Good", "e,five,"))
    assert suggest_labels(project) == ["Good", "bad"]


def test_no_more_than_fifty_labels_are_suggested(project: Project) -> None:
    load(project, table(*[f"{number},text,value {number}" for number in range(300)]))
    assert len(suggest_labels(project)) == 50


def test_references_are_linked_when_the_labels_are_set_after_the_import(project: Project) -> None:
    load(project, table("a,one,Good", "b,two, BAD ", "c,three,strange", "d,four,"))
    assert not project.samples.filter(reference__isnull=False).exists()
    configure.set_labels(project, [LabelDraft("good"), LabelDraft("bad")])
    assert match_references(project) == 2
    found = project.samples.order_by("position").values_list("reference__name", flat=True)
    assert list(found) == ["good", "bad", None, None]


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


# --- Refusals -----------------------------------------------------------------------------------------------------


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


# --- Preview ------------------------------------------------------------------------------------------------------


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
    "choice", [{"encoding": "utf-7"}, {"delimiter": "xx"}, {"quote": "'"}, {"encoding": "../x"}]
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


# --- A second file ------------------------------------------------------------------------------------------------


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


# --- Stopping, dying, going on ------------------------------------------------------------------------------------


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


def test_a_paused_import_goes_on_where_it_stopped(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = start(project, upload(project, table(*numbered(5_500), "x,,bad")))
    StopAfter(monkeypatch, stage, Stage.RequestedAction.PAUSE, batches=3)
    run(stage)
    assert stage.status == Stage.Status.PAUSED
    assert project.samples.count() == report_of(stage).read == 2_000
    state.resume(stage)
    assert run(stage).status == Stage.Status.DONE
    assert texts(project) == [f"text number {number}" for number in range(5_500)]
    assert left_out(stage) == [(5502, "rejected", "the text is empty")]


def test_a_cancelled_import_leaves_no_row_and_can_be_begun_anew(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = start(project, upload(project, table(*numbered(5_500))))
    StopAfter(monkeypatch, stage, Stage.RequestedAction.CANCEL, batches=3)
    run(stage)
    assert stage.status == Stage.Status.CANCELLED
    assert stage.done == 0
    assert not project.samples.exists()
    state.resume(stage)
    assert run(stage).status == Stage.Status.DONE
    assert project.samples.count() == 5_500


def test_cancelling_a_paused_append_takes_back_its_rows_only(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(project, table(*numbered(100)))
    stage = start(project, upload(project, table(*numbered(5_500, first=100))))
    StopAfter(monkeypatch, stage, Stage.RequestedAction.PAUSE, batches=3)
    run(stage)
    assert project.samples.count() == 2_100
    cancel_import(stage)
    assert stage.status == Stage.Status.CANCELLED
    assert stage.done == Stage.objects.get(pk=stage.pk).done == 0
    assert project.samples.count() == 100


def test_a_half_import_must_be_ended_before_anything_else(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = start(project, upload(project, table(*numbered(5_500))))
    StopAfter(monkeypatch, stage, Stage.RequestedAction.PAUSE, batches=3)
    run(stage)
    Stage.objects.filter(pk=stage.pk).update(status=Stage.Status.FAILED)
    with pytest.raises(BusyError, match=r"The import of “letters\.csv” was interrupted"):
        check_no_leftovers(project)
    load(project, table(*numbered(20)))
    assert project.samples.count() == 20
    check_no_leftovers(project)


def test_two_imports_at_once_are_one(project: Project) -> None:
    first, second = upload(project, table("a,one,bad")), upload(project, table("b,two,bad"))
    start(project, first)
    with pytest.raises(BusyError):
        start(project, second)
    assert project.stages.count() == 1


def test_a_worker_that_lost_its_lease_stores_nothing(project: Project) -> None:
    stage = start(project, upload(project, table(*numbered(10))))
    with work_on(stage.pk) as job:
        assert job is not None
        Stage.objects.filter(pk=stage.pk).update(attempt=99)
        with pytest.raises(LeaseLostError), transaction.atomic():
            start_import.run_import(job)
        assert not project.samples.exists()
        assert Upload.objects.get(pk=stage.detail["upload"]).report == {}


KILLED = """
import os, signal, sys
import django
django.setup()
from django.conf import settings
from django.db import connections
from pathlib import Path
connections["default"].settings_dict["NAME"] = sys.argv[1]
settings.UPLOAD_DIR = Path(sys.argv[2])
from annotation.jobs.work import work_on
from annotation.pipeline.ingest import start_import
from annotation.pipeline.ingest.import_report import ImportReport
save, left = ImportReport.save, [int(sys.argv[4])]
def die_before_the_commit(self, upload):
    left[0] -= 1
    save(self, upload)
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
ImportReport.save = die_before_the_commit
with work_on(int(sys.argv[3])) as job:
    start_import.run_import(job)
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("saves", "stored"),
    [(3, 2_000), (7, 5_000)],
    ids=["in the third batch", "in the last step, all rows stored"],
)
def test_an_import_that_is_killed_goes_on_without_a_row_lost_or_doubled(
    project: Project, settings: Any, tmp_path: Path, saves: int, stored: int
) -> None:
    rows = [*numbered(2_000), "r7,text number 7,good", "x,,bad", *numbered(3_000, first=2_000)]
    stage = start(project, upload(project, table(*rows)), id_column="id")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "coral_site.settings",
        "CORAL_DATA_DIR": str(tmp_path),
        "REDIS_URL": "unix://" + str(tmp_path / "nobody.sock"),
        "CORAL_LOG_LEVEL": "CRITICAL",
    }
    command = [
        sys.executable,
        "-c",
        KILLED,
        str(connection.settings_dict["NAME"]),
        str(settings.UPLOAD_DIR),
        str(stage.pk),
        str(saves),
    ]
    killed = subprocess.run(command, cwd=settings.BASE_DIR, env=environment, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert project.samples.count() == stored  # what was not committed went with its worker
    assert not project.text_pages.exists()
    Stage.objects.filter(pk=stage.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert reap() == 1
    assert run(stage).status == Stage.Status.DONE
    report = report_of(stage)
    assert (report.read, report.imported, report.duplicates, report.rejected) == (5_002, 5_000, 1, 1)
    assert texts(project) == [f"text number {number}" for number in range(5_000)]
    assert list(project.samples.order_by("position").values_list("position", flat=True)) == list(range(5_000))
    assert rows_with_texts(project, [project.samples.get(position=7).content_hash]).count() == 1


# --- From the command line ----------------------------------------------------------------------------------------


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
