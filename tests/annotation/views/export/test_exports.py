"""The page of exports."""

from __future__ import annotations

import pytest
from django.conf import settings as django_settings

from annotation.models import Stage
from tests.support.pages import Cast, judge_rows, make_cast
from tests.support.running import html_of, running

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def finished_export(cast: Cast, content: str = "text\na\n") -> Stage:
    django_settings.EXPORT_DIR.mkdir(exist_ok=True)
    (django_settings.EXPORT_DIR / "stored.csv").write_text(content)
    detail = {"format": "csv", "stored": "stored.csv", "file": "film-notes-filtered-2026-01-02.csv"}
    return Stage.objects.create(
        project=cast.project, kind="export", status="done", done=1, total=1, detail=detail
    )


def test_an_export_is_queued_and_shown(cast: Cast) -> None:
    judge_rows(cast.project)
    cast.client("viewer").post(cast.url("export/start/"), {"format": "xlsx"})
    stage = Stage.objects.get(kind="export")
    assert f'data-stage="{stage.pk}"' in html_of(cast, "export/", "viewer")


def test_the_tables_filter_and_a_certainty_go_with_the_export(cast: Cast) -> None:
    judge_rows(cast.project)
    html = html_of(cast, "export/?show=inconsistent&sort=risk", "viewer")
    assert "Only the 4 rows that match the table’s filter." in html
    assert 'name="query" value="show=inconsistent"' in html
    wanted = {"format": "csv", "query": "show=inconsistent", "rows": "sure", "certainty": "5"}
    cast.client("viewer").post(cast.url("export/start/"), wanted)
    stage = Stage.objects.get(kind="export")
    assert (stage.detail["query"], stage.detail["certainty"]) == ("show=inconsistent", 0.05)


def test_the_table_offers_to_export_the_rows_that_it_shows(cast: Cast) -> None:
    judge_rows(cast.project)
    assert cast.url("export/?show=inconsistent") in html_of(cast, "review/?show=inconsistent", "viewer")


def test_a_certainty_has_to_be_said_where_it_is_chosen(cast: Cast) -> None:
    wanted = {"format": "csv", "rows": "sure", "certainty": ""}
    answer = cast.client("owner").post(cast.url("export/start/"), wanted, follow=True)
    assert "Enter how probable it must be" in answer.content.decode()
    assert not Stage.objects.filter(kind="export").exists()


def test_the_export_page_tells_which_rows_were_rejected_at_import(cast: Cast) -> None:
    upload = cast.project.uploads.create(
        name="notes.csv",
        stored_name="s",
        size=1,
        sha256="0",
        report={"finished": True, "read": 1012, "rejected": 2},
    )
    upload.left_out.create(line=7, outcome="rejected", reason="=the text is empty")
    assert "2 of 1,012 rows of notes.csv were rejected at import" in html_of(cast, "export/", "viewer")
    answer = cast.client("viewer").get(cast.url(f"configure/data/{upload.pk}/left-out.csv"))
    lines = b"".join(answer).decode("utf-8-sig").splitlines()
    assert lines == ["line,outcome,reason", "7,rejected,'=the text is empty"]


def test_an_unknown_format_gets_a_sentence(cast: Cast) -> None:
    answer = cast.client("owner").post(cast.url("export/start/"), {"format": "exe"}, follow=True)
    assert "exe is not one of the available choices" in answer.content.decode()


def test_a_finished_file_comes_as_an_attachment_under_the_name_that_it_was_given(cast: Cast) -> None:
    stage = finished_export(cast)
    answer = cast.client("viewer").get(cast.url(f"export/{stage.pk}/download/"))
    assert b"".join(answer) == b"text\na\n"
    assert answer["Content-Disposition"] == 'attachment; filename="film-notes-filtered-2026-01-02.csv"'
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_a_removed_file_says_so(cast: Cast) -> None:
    stage = finished_export(cast)
    (django_settings.EXPORT_DIR / "stored.csv").unlink()
    assert "deleted" in html_of(cast, "export/")
    answer = cast.client("owner").get(cast.url(f"export/{stage.pk}/download/"), follow=True)
    assert "Create a new one" in answer.content.decode()


def test_no_other_job_can_be_downloaded(cast: Cast) -> None:
    stage = running(cast)
    assert cast.client("owner").get(cast.url(f"export/{stage.pk}/download/")).status_code == 404


def test_every_column_of_the_export_is_explained(cast: Cast) -> None:
    from annotation.files.writers import RESULT_COLUMNS

    html = html_of(cast, "export/")
    assert all(f"<code>{name}</code>" in html for name in RESULT_COLUMNS)
