from __future__ import annotations

import re
from uuid import uuid4

import pytest

from annotation.models import RowMark, Sample
from annotation.pipeline.export.rows import export_header, export_rows
from annotation.pipeline.measure.draw_sample import draw_sample, pending_draws
from annotation.pipeline.review import corrections, queue
from annotation.pipeline.review.marks import mark_row
from tests.support.pages import Cast, judge_rows, make_cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    cast = make_cast()
    judge_rows(cast.project)
    return cast


def first_in_queue(cast: Cast) -> Sample:
    claims = queue.take_rows(cast.project, user=cast.users["reviewer"], count=1)
    return claims[0].sample


def say_unclear(cast: Cast, sample: Sample) -> None:
    answer = cast.client("reviewer").post(
        cast.url("focus/unclear/"),
        {"sample": sample.pk, "id": uuid4()},
        headers={"accept": "application/json"},
    )
    assert answer.status_code == 200


def rows_shown(cast: Cast, query: str) -> list[int]:
    html = cast.client("viewer").get(cast.url(f"review/?{query}")).content.decode()
    return [int(pk) for pk in re.findall(r'<tr id="sample-(\d+)"', html)]


def test_an_unclear_row_leaves_the_queue_of_all_and_keeps_the_models_label(cast: Cast) -> None:
    sample = first_in_queue(cast)
    label = sample.label_id
    say_unclear(cast, sample)
    for name in ("reviewer", "owner"):
        held = queue.take_rows(cast.project, user=cast.users[name], count=20)
        assert sample.pk not in [claim.sample_id for claim in held]
    sample.refresh_from_db()
    assert (sample.label_id, sample.source) == (
        label,
        "llm" if sample.label_id == sample.llm_label_id else "slm",
    )
    assert rows_shown(cast, "show=unclear") == [sample.pk]


def test_a_label_takes_the_place_of_unclear(cast: Cast) -> None:
    sample = first_in_queue(cast)
    say_unclear(cast, sample)
    corrections.correct_sample(sample.pk, label_id=cast.project.label_list()[0].pk, user=cast.users["owner"])
    assert not RowMark.objects.get().unclear


def test_a_row_that_measures_the_file_stays_open_though_somebody_finds_it_unclear(cast: Cast) -> None:
    draw_sample(cast.project, rows=10, user=cast.users["owner"], seed=0)
    drawn = pending_draws(cast.project, cast.users["reviewer"]).first()
    assert drawn is not None
    say_unclear(cast, drawn)
    assert pending_draws(cast.project, cast.users["owner"]).filter(pk=drawn.pk).exists()


def test_a_note_is_saved_found_exported_and_taken_away(cast: Cast) -> None:
    sample = cast.project.samples.get(position=3)
    client = cast.client("reviewer")
    address = cast.url(f"samples/{sample.pk}/mark/")
    saved = client.post(address, {"note": "two topics", "for_colleague": "1"}, headers={"hx-request": "true"})
    assert "two topics" in saved.content.decode()
    assert rows_shown(cast, "show=noted") == rows_shown(cast, "show=colleague") == [sample.pk]
    rows = [dict(zip(export_header(cast.project), row, strict=True)) for row in export_rows(cast.project)]
    assert [row["note"] for row in rows] == ["", "", "", "two topics", *[""] * 8]
    client.post(address, {"note": ""})
    assert not RowMark.objects.exists()
    assert cast.client("viewer").post(address, {"note": "no"}).status_code == 403


def test_what_is_not_named_stays(cast: Cast) -> None:
    sample, user = cast.project.samples.get(position=3), cast.users["owner"]
    mark_row(sample, user=user, note="two topics")
    mark = mark_row(sample, user=user, unclear=True)
    assert mark is not None
    assert (mark.note, mark.unclear) == ("two topics", True)


def test_the_rows_of_a_filter_come_one_by_one_with_the_way_back(cast: Cast) -> None:
    answer = cast.client("reviewer").get(cast.url("focus/?show=inconsistent&sort=position"))
    html = answer.content.decode()
    shown = [int(pk) for pk in re.findall(r'data-row="(\d+)"', html)]
    expected = cast.project.samples.filter(flag="inconsistent").order_by("position")
    assert shown == list(expected.values_list("pk", flat=True))
    assert f'href="{cast.url("review/")}?show=inconsistent&amp;sort=position"' in html
    assert 'data-next=""' in html, "the queue's rows don't follow"
    assert cast.client("reviewer").get(cast.url("focus/?label=x")).status_code == 400


def test_own_answers_can_be_looked_at_again(cast: Cast) -> None:
    sample, user = cast.project.samples.get(position=3), cast.users["reviewer"]
    corrections.correct_sample(sample.pk, label_id=cast.project.label_list()[0].pk, user=user)
    html = cast.client("reviewer").get(cast.url(f"focus/?by={user.pk}")).content.decode()
    assert re.findall(r'data-row="(\d+)"', html) == [str(sample.pk)]
