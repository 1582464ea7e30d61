"""Rows that the focus view shows blind."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest

from annotation.models import AuditDraw, Correction, Sample
from tests.support.focus import JSON, answer_data, first_id, html_of
from tests.support.pages import Cast, judge_rows, make_cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    cast = make_cast(rows=24)
    judge_rows(cast.project)
    return cast


def draw(cast: Cast, position: int) -> Sample:
    sample = cast.project.samples.get(position=position)
    AuditDraw.objects.create(
        project=cast.project, sample=sample, draw_number=1, round=1, stratum="x", stratum_rows=24,
        stratum_drawn=1, frame_rows=24,
        drawn_at=sample.project.created_at,
    )  # fmt: skip
    return sample


def test_a_row_drawn_to_measure_is_shown_blind_among_the_others(cast: Cast) -> None:
    drawn = draw(cast, 20)
    html = html_of(cast)
    articles = html.split("<article")[1:]
    place = next(place for place, article in enumerate(articles) if f'data-row="{drawn.pk}"' in article)
    assert place == 2
    assert "Drawn at random" in articles[place]
    hints = ("btn answer c0 suggested", "<h3>LLM", "<h3>SLM", "History", "Most similar", "likely right")
    for hint in hints:
        assert hint not in articles[place]
    assert 'data-suggestion=""' in articles[place]
    assert sum(f'data-row="{drawn.pk}"' in article for article in articles) == 1


def test_the_random_rows_can_be_answered_without_the_queue_between_them(cast: Cast) -> None:
    drawn = [draw(cast, position).pk for position in (20, 5, 11)]
    assert "Random sample only" in html_of(cast)  # which holds rows of the queue as well
    html = html_of(cast, "?only=random")
    assert [int(pk) for pk in re.findall(r'<article[^>]*data-row="(\d+)"', html)] == drawn
    assert "?only=random" in html.partition('data-next="')[2].partition('"')[0]
    client = cast.client("reviewer")
    asked = {"have": ",".join(map(str, drawn))}
    more = client.post(cast.url("focus/next/?only=random"), asked, headers=JSON).json()
    assert more["rows"] == []
    for pk in drawn:
        client.post(cast.url("focus/answer/"), answer_data(cast, pk, because="audit"), headers=JSON)
    end = html_of(cast, "?only=random").partition('id="focus-end"')[2]
    assert "No sampled row is waiting for you" in end
    assert "Whole queue" in html_of(cast, "?only=random")
    assert (
        first_id(html_of(cast)) == cast.project.samples.get(queue_rank=1).pk
    )  # the queue's rows were given back


def test_its_answer_is_kept_apart_from_those_of_the_queue(cast: Cast) -> None:
    drawn = draw(cast, 20)
    client = cast.client("reviewer")
    client.post(cast.url("focus/answer/"), answer_data(cast, drawn.pk, because="audit"), headers=JSON)
    assert Correction.objects.get().because == "audit"
    undone = client.post(cast.url("focus/undo/"), {"undo_id": uuid4()}, headers=JSON).json()
    assert "Drawn at random" in undone["row"]["html"]  # still blind


def test_a_second_person_answers_blind_and_decides_where_they_differ(cast: Cast) -> None:
    cast.project.double_review_percent = 100
    cast.project.save()
    first = first_id(html_of(cast))
    cast.client("owner").post(cast.url("focus/answer/"), answer_data(cast, first, 0), headers=JSON)
    articles = html_of(cast).split("<article")[1:]
    article = next(each for each in articles if f'data-row="{first}"' in each)
    assert "Second annotation" in article
    assert "owner" not in article
    data = answer_data(cast, first, 1, because="second", version=1)
    answer = cast.client("reviewer").post(cast.url("focus/answer/"), data, headers=JSON).json()
    assert answer["version"] == 2
    assert "owner chose “positive” before you; your choice, “negative”" in answer["row"]["html"]


def test_a_second_answer_that_agrees_needs_no_decision(cast: Cast) -> None:
    first = first_id(html_of(cast))
    cast.client("owner").post(cast.url("focus/answer/"), answer_data(cast, first, 0), headers=JSON)
    data = answer_data(cast, first, 0, because="second", version=1)
    answer = cast.client("reviewer").post(cast.url("focus/answer/"), data, headers=JSON)
    assert answer.json()["version"] == 2
    assert "row" not in answer.json()
