"""Rows that measure the file show on no page what the models say, until they are answered."""

from __future__ import annotations

import pytest

from annotation.models import Correction, Sample
from annotation.pipeline.measure.draw_sample import draw_sample
from annotation.pipeline.review import corrections
from tests.support.pages import Cast, judge_rows, make_cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    cast = make_cast()
    judge_rows(cast.project)
    return cast


@pytest.fixture
def drawn(cast: Cast) -> Sample:
    draw_sample(cast.project, rows=1, user=cast.users["owner"], seed=0)
    return Sample.objects.get(audit_draws__isnull=False)


def row_html(cast: Cast, sample: Sample) -> str:
    html = cast.client("reviewer").get(cast.url("review/")).content.decode()
    return html.split(f'id="sample-{sample.pk}"')[1].split("</tr>")[0]


def test_the_table_hides_the_models_labels_of_a_drawn_row_until_it_is_answered(
    cast: Cast, drawn: Sample
) -> None:
    html = row_html(cast, drawn)
    assert "Random sample: answer it" in html
    assert "chip" not in html
    other = Sample.objects.exclude(pk=drawn.pk).first()
    assert other
    assert "chip" in row_html(cast, other)
    label = cast.project.label_list()[0]
    corrections.correct_sample(
        drawn.pk, label_id=label.pk, user=cast.users["reviewer"], because=Correction.Because.AUDIT
    )
    assert "chip" in row_html(cast, drawn)


def test_a_drawn_row_that_is_asked_for_by_its_number_is_shown_blind(cast: Cast, drawn: Sample) -> None:
    html = cast.client("reviewer").get(cast.url(f"focus/?row={drawn.pk}")).content.decode()
    first = html.split("<article")[1]
    assert f'data-row="{drawn.pk}"' in first
    assert 'data-because="audit"' in first


def test_a_page_holds_the_beginning_of_a_long_text_and_the_rest_on_request(cast: Cast) -> None:
    text = "<" * 262_000
    cast.project.samples.update(text=text)
    client = cast.client("reviewer")
    for path in ("review/", "focus/"):
        page = client.get(cast.url(path)).content
        assert len(page) < 1_000_000
        assert b"/text/" in page
    sample = cast.project.samples.get(position=0)
    answer = client.get(cast.url(f"samples/{sample.pk}/text/"))
    assert answer.content.decode() == text
    assert answer["Content-Type"].startswith("text/plain")
