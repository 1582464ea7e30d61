"""The certificate's page, its JSON, its filter and its sheet in the workbook."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest
from django.db.models import Q

from annotation.jobs.work import run_stage
from annotation.models import Correction
from annotation.pipeline.export.run_export import write_excel
from annotation.pipeline.measure import certify, draw_sample
from annotation.pipeline.measure.draw_for_certificate import draw_for_certificate
from annotation.pipeline.project.goal import set_goal
from annotation.pipeline.review import corrections
from tests.support.audited import answer_all
from tests.support.pages import Cast, judge_rows, make_cast, one_line

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    cast = make_cast(rows=60)
    judge_rows(cast.project)
    set_goal(cast.project, user=cast.project.owner)
    return cast


def certified(cast: Cast, *, rows: int) -> None:
    if rows:
        draw_for_certificate(cast.project, rows=rows, user=cast.project.owner, seed=0)
        answer_all(cast.project)
    assert cast.client("reviewer").post(cast.url("certificate/make/")).status_code == 302
    run_stage(cast.project.stages.filter(kind="certificate").latest("id").pk)


def page(cast: Cast, path: str = "certificate/") -> str:
    return one_line(cast.client("viewer").get(cast.url(path)).content.decode())


def test_the_page_says_what_holds(cast: Cast) -> None:
    certified(cast, rows=50)
    html = page(cast)
    assert "of the 60 labels are right, with 95" in html
    assert "The target of 95\N{NO-BREAK SPACE}% is reached." in html
    assert "All 60 rows are certified" in html
    assert "Make it anew before you rely on it" not in html


def test_the_page_says_that_the_file_has_changed_since(cast: Cast) -> None:
    certified(cast, rows=50)
    sample = cast.project.samples.exclude(source="person")[0]
    corrections.correct_sample(sample.pk, label_id=sample.label_id, user=cast.project.owner)
    assert "Make it anew before you rely on it" in page(cast)


def test_rows_that_are_not_certified_are_a_filter_of_the_table(cast: Cast) -> None:
    certified(cast, rows=5)
    made = certify.newest_certificate(cast.project)
    assert made
    others = made.detail["statement"]["part"]["others"]
    assert others
    assert "?show=uncertified" in page(cast)
    assert page(cast, "review/?show=uncertified").count('id="sample-') == min(others, 50)


def test_the_json_holds_the_answers_and_the_hash(cast: Cast) -> None:
    certified(cast, rows=5)
    answer = cast.client("viewer").get(cast.url("certificate/certificate.json"))
    statement = answer.json()
    assert len(statement["answers"]) == 5
    assert len(statement["data_sha256"]) == 64


def test_no_json_before_there_is_a_certificate(cast: Cast) -> None:
    answer = cast.client("viewer").get(cast.url("certificate/certificate.json"), follow=True)
    assert "No certificate has been made yet." in answer.content.decode()


def test_the_workbook_has_the_certificate_of_the_file_as_it_is(cast: Cast, tmp_path: Path) -> None:
    draw_for_certificate(cast.project, rows=50, user=cast.project.owner, seed=0)
    answer_all(cast.project)
    write_excel(cast.project, tmp_path / "out.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "out.xlsx")["Certificate"]
    lines = [[cell for cell in row if cell is not None] for row in sheet.iter_rows(values_only=True)]
    assert "labels are right" in str(lines[1][0])
    assert ["random rows answered", 50] in lines


def test_rows_that_a_person_did_not_confirm_are_listed(cast: Cast) -> None:
    draw_for_certificate(cast.project, rows=1, user=cast.project.owner, seed=0)
    sample = draw_sample.pending_draws(cast.project, cast.project.owner)[0]
    other = cast.project.labels.get(~Q(pk=sample.label_id))
    corrections.correct_sample(
        sample.pk, label_id=other.pk, user=cast.project.owner, because=Correction.Because.AUDIT
    )
    certified(cast, rows=0)
    assert f"row={sample.number}" in page(cast)
