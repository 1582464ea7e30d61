"""The focus view's pages and answers, without a browser's scripts and as they ask."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotation.jobs import kinds
from annotation.models import Correction, Label, RowClaim, Sample, Source
from annotation.pipeline.measure import draw_sample
from annotation.pipeline.review import bulk, corrections
from annotation.views.review.focus_rows import label_choices
from tests.support.focus import JSON, answer_data, first_id, html_of
from tests.support.pages import Cast, judge_rows, make_cast, one_line

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    cast = make_cast(rows=24)
    judge_rows(cast.project)
    return cast


def test_random_rows_are_counted_where_they_alone_are_shown(cast: Cast) -> None:
    draw_sample.draw_sample(cast.project, rows=10, user=None, seed=0)
    html = html_of(cast, "?only=random")
    assert re.search(r'data-left="random">10<', html)
    assert "Rows left in the queue" not in html
    data = answer_data(cast, first_id(html), because="audit")
    told = cast.client("reviewer").post(cast.url("focus/answer/"), data, headers=JSON).json()
    assert told["left"]["random"] == "9"
    assert "Sampled rows left" not in html_of(cast)


# --- Looking ----------------------------------------------------------------------------------------------------------


def test_the_first_row_is_the_riskiest_and_shows_all_evidence(cast: Cast) -> None:
    html = html_of(cast)
    first = html.partition("<article")[2].partition("</article>")[0]
    assert first_id(html) == cast.project.samples.get(position=0).pk
    for text in ("a warm and clever film, number 0", "Why this row", "The models disagree", "suggested"):
        assert text in first
    assert re.search(r"<h3>LLM</h3>.*negative.*<h3>SLM</h3>.*positive", first, re.DOTALL)
    assert "60.0" in first  # the share that the LLM gave its first label
    assert "History: 2 entries" in first


def test_the_history_tells_of_models_people_and_bulk_corrections_by_round(cast: Cast) -> None:
    row, (good, bad) = cast.project.samples.get(position=0), cast.project.label_list()
    owner = cast.users["owner"]
    corrections.correct_sample(row.pk, label_id=good.pk, user=cast.users["reviewer"])
    bulk.start_batch(
        cast.project, bulk.Choice(label=bad, samples=[row.pk], include_corrected=True), user=owner
    )
    shown = html_of(cast, f"?row={row.pk}").partition("<article")[2].partition("</article>")[0]
    history = re.sub(r"<[^>]+>|\s+", " ", shown.partition("History: 4 entries")[2])
    assert re.search(
        r"Round 1 +LLM +negative .*Round 1 +SLM +positive .*Round 1 +reviewer .*positive .*Round 1 +owner .*negative +in bulk",
        history,
    )


@pytest.mark.parametrize(
    ("risk", "labels", "words"),
    [
        (0.2, 4, "“positive” is the most likely label; the probability that it is wrong is about 20"),
        (0.64, 4, "“positive” is the most likely of the 4 labels, but it is more likely wrong than right"),
        (0.55, 2, "“positive” is barely more likely than the other label: either may be right."),
    ],
)
def test_the_doubt_about_a_suggestion_is_said_in_words_that_fit_its_risk(
    cast: Cast, risk: float, labels: int, words: str
) -> None:
    for number in range(3, labels + 1):
        Label.objects.create(project=cast.project, name=f"label {number}", position=number)
    cast.project.samples.filter(position=0).update(risk=risk)
    assert words in html_of(cast)
    assert "Neither model gave this label alone" not in html_of(cast)


def test_a_suggestion_that_is_no_models_own_says_where_it_comes_from(cast: Cast) -> None:
    third = Label.objects.create(project=cast.project, name="mixed", position=3)
    cast.project.samples.filter(position=0).update(label=third)
    assert "Neither model gave this label alone" in html_of(cast)


def test_table_rows_are_shown_as_fields(cast: Cast) -> None:
    cast.project.content_columns = ["id", "text"]
    cast.project.save()
    html = html_of(cast)
    assert "<dt>text</dt>" in html
    assert "<dt>truth</dt>" not in html  # the reference column is no content


def test_the_nearest_rows_are_shown_with_their_labels(cast: Cast) -> None:
    samples = list(cast.project.samples.order_by("position"))
    folder = settings.RUN_DIR / str(cast.project.stages.get(kind=kinds.SLM.key).run_id)
    folder.mkdir(parents=True)
    angles = np.linspace(0, 1, len(samples))
    np.save(folder / "keys.npy", np.array([sample.pk for sample in samples]))
    np.save(folder / "features.npy", np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16))
    first = html_of(cast).partition("<article")[2].partition("</article>")[0]
    similar = re.findall(r'class="excerpt">([^<]+)', first)
    assert similar == [sample.text for sample in samples[1:5]]


def test_a_viewer_is_refused_and_a_stranger_finds_nothing(cast: Cast) -> None:
    assert cast.client("viewer").get(cast.url("focus/")).status_code == 403
    assert cast.client("stranger").get(cast.url("focus/")).status_code == 404


def test_a_certain_row_can_be_asked_for(cast: Cast) -> None:
    wanted = cast.project.samples.get(position=17)
    assert first_id(html_of(cast, f"?row={wanted.pk}")) == wanted.pk
    assert cast.client("reviewer").get(cast.url("focus/?row=999999")).status_code == 404


def test_hostile_texts_stay_texts(cast: Cast) -> None:
    hostile = "</div><script>alert(1)</script><b onmouseover=x>"
    Sample.objects.update(text=hostile)
    Label.objects.filter(position=1).update(name=hostile)
    cast.project.guidelines = f"# Rules\n\n{hostile}\n\n[x](javascript:alert(1)) ![x](http://evil.test/x.png)"
    cast.project.save()
    html = html_of(cast)
    assert "<h1>Rules</h1>" in html
    assert "<script>alert" not in html
    assert "<b onmouseover" not in html
    assert 'href="javascript' not in html
    assert '<img src="http' not in html
    assert " style=" not in html


def test_a_long_queue_takes_no_more_queries_than_a_short_one(cast: Cast) -> None:
    client = cast.client("reviewer")
    client.get(cast.url("focus/"))
    with CaptureQueriesContext(connection) as few:
        client.get(cast.url("focus/"))
    Sample.objects.filter(position__gte=2).update(source=Source.PERSON)
    with CaptureQueriesContext(connection) as fewer:
        client.get(cast.url("focus/"))
    assert len(few) <= 40
    assert len(few) <= len(fewer) + 1


# --- Answering --------------------------------------------------------------------------------------------------------


def test_without_scripts_an_answer_is_saved_and_the_next_row_comes(cast: Cast) -> None:
    client, first = cast.client("reviewer"), first_id(html_of(cast))
    answer = client.post(cast.url("focus/answer/"), answer_data(cast, first))
    assert answer["Location"] == cast.url("focus/")
    correction = Correction.objects.get()
    assert (correction.sample_id, correction.because, correction.seconds) == (first, "queue", 2.5)
    assert first_id(html_of(cast)) != first


def test_a_repeated_answer_is_saved_once(cast: Cast) -> None:
    data = answer_data(cast, first_id(html_of(cast)))
    client = cast.client("reviewer")
    answers = [client.post(cast.url("focus/answer/"), data, headers=JSON) for _ in range(2)]
    assert [answer.json()["version"] for answer in answers] == [1, 1]
    assert Correction.objects.count() == 1


def test_an_answer_is_one_short_transaction(cast: Cast) -> None:
    data = answer_data(cast, first_id(html_of(cast)))
    client = cast.client("reviewer")
    with CaptureQueriesContext(connection) as queries:
        client.post(cast.url("focus/answer/"), data, headers=JSON)
    statements = [query["sql"].split()[0] for query in queries]
    assert len(statements) <= 20, (
        "four of them read the figures, after the transaction, one looks for a goal, and one counts the answers"
    )
    assert [word for word in statements if word in ("INSERT", "UPDATE", "DELETE")] == [
        "INSERT",
        "UPDATE",
        "DELETE",
    ]


def test_who_was_overtaken_sees_what_the_other_chose_and_decides(cast: Cast) -> None:
    first = first_id(html_of(cast))
    cast.client("owner").post(cast.url("focus/answer/"), answer_data(cast, first, 1), headers=JSON)
    client = cast.client("reviewer")
    refused = client.post(cast.url("focus/answer/"), answer_data(cast, first, 0), headers=JSON)
    assert refused.status_code == 409
    html = one_line(refused.json()["row"]["html"])
    assert "owner has set this row to “negative” in the meantime" in html
    assert "✎ by owner" in html
    assert 'data-version="1"' in html
    client.post(cast.url("focus/answer/"), answer_data(cast, first, 0, version=1), headers=JSON)
    said = Correction.objects.order_by("pk").values_list("user__username", "label__name")
    assert list(said) == [("owner", "negative"), ("reviewer", "positive")]


def test_without_scripts_who_was_overtaken_is_led_back_to_the_row(cast: Cast) -> None:
    first = first_id(html_of(cast))
    cast.client("owner").post(cast.url("focus/answer/"), answer_data(cast, first, 1))
    client = cast.client("reviewer")
    answer = client.post(cast.url("focus/answer/"), answer_data(cast, first, 0), follow=True)
    assert answer.request["QUERY_STRING"] == f"row={first}"
    assert "owner has set this row" in answer.content.decode()


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "x"},
        {"label": 999},
        {"label": ""},
        {"version": -1},
        {"because": "x"},
        {"seconds": "nan"},
        {"sample": 0},
    ],
)
def test_what_the_form_does_not_allow_is_refused_with_a_sentence(cast: Cast, wrong: dict[str, Any]) -> None:
    data = answer_data(cast, first_id(html_of(cast))) | wrong
    answer = cast.client("reviewer").post(cast.url("focus/answer/"), data, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["sentence"]
    assert not Correction.objects.exists()


def test_a_row_of_another_project_is_not_found(cast: Cast) -> None:
    other = Sample.objects.create(
        project=type(cast.project).objects.create(name="x", owner=cast.users["owner"]),
        position=0,
        text="x",
        fields=[],
        content_hash="0",
    )
    for path, data in (("answer", answer_data(cast, other.pk)), ("skip", {"sample": other.pk})):
        answer = cast.client("reviewer").post(cast.url(f"focus/{path}/"), data, headers=JSON)
        assert answer.status_code == 404
        assert "no longer in the project" in answer.json()["sentence"]
    assert not Correction.objects.exists()


# --- More rows, skipping, undoing, figures ----------------------------------------------------------------------------


def test_more_rows_come_beyond_those_that_the_page_has(cast: Cast) -> None:
    html = html_of(cast)
    have = re.findall(r'data-row="(\d+)"', html)
    answer = cast.client("reviewer").post(cast.url("focus/next/"), {"have": ",".join(have)}, headers=JSON)
    rows = answer.json()["rows"]
    assert len(rows) == 4
    assert not {str(row["id"]) for row in rows} & set(have)
    assert "Rows left in the queue" in answer.json()["figures"]
    wrong = cast.client("reviewer").post(cast.url("focus/next/"), {"have": "1,x"}, headers=JSON)
    assert wrong.status_code == 400


def test_every_answer_and_undo_tells_how_many_rows_are_left_and_for_how_long(cast: Cast) -> None:
    html, client = html_of(cast), cast.client("reviewer")
    assert '<dd data-left="rows">8</dd>' in html
    assert '<dd data-left="time">–</dd>' in html, "no pace is known yet"
    data = answer_data(cast, first_id(html), seconds="6")
    answer = client.post(cast.url("focus/answer/"), data, headers=JSON).json()
    assert answer["left"] == {"rows": "7", "time": "42 s"}
    undone = client.post(cast.url("focus/undo/"), {"undo_id": uuid4()}, headers=JSON).json()
    assert undone["left"] == {"rows": "8", "time": "–"}


def test_a_row_shows_the_same_clean_probability_as_the_table(cast: Cast) -> None:
    Sample.objects.update(clean_prob=0.001)
    assert "(clean probability 0.1\N{NO-BREAK SPACE}%, not calibrated)" in html_of(cast)


def test_a_skipped_row_is_not_shown_again(cast: Cast) -> None:
    first = first_id(html_of(cast))
    answer = cast.client("reviewer").post(cast.url("focus/skip/"), {"sample": first})
    assert answer["Location"] == cast.url("focus/")
    assert f'data-row="{first}"' not in html_of(cast)


def test_undo_brings_the_row_back_first(cast: Cast) -> None:
    client, first = cast.client("reviewer"), first_id(html_of(cast))
    client.post(cast.url("focus/answer/"), answer_data(cast, first, 1))
    answer = client.post(cast.url("focus/undo/"), {"undo_id": uuid4()})
    assert answer["Location"] == cast.url(f"focus/?row={first}")
    assert first_id(html_of(cast)) == first
    sample = Sample.objects.get(pk=first)
    assert (sample.source, sample.version) == (Source.SLM, 2)
    nothing = client.post(cast.url("focus/undo/"), {"undo_id": uuid4()}, headers=JSON)
    assert nothing.status_code == 400


def test_after_fifty_answers_the_page_says_what_was_found(cast: Cast) -> None:
    samples, (good, bad) = list(cast.project.samples.order_by("position")), cast.project.label_list()
    for number in range(50):
        sample = samples[number % len(samples)]
        label = bad if number < 10 else good
        Correction.objects.create(
            sample=sample, user=cast.users["reviewer"], label=label, replaced_label=good, replaced_source="slm",
            because="queue" if number < 40 else "audit", answer_id=uuid4(), seconds=6.0,
        )  # fmt: skip
    html = html_of(cast)
    assert "10 of the 40 rows from the review queue were wrong (25" in html
    assert "2.0 errors found per minute" in html
    assert "10 rows/min" in html


def test_no_row_waits_where_everything_is_answered(cast: Cast) -> None:
    Sample.objects.update(source=Source.PERSON)
    html = html_of(cast)
    assert "<article" not in html
    assert "No row is waiting for you" in html
    assert not RowClaim.objects.exists()


def test_labels_without_a_key_of_their_own_get_the_free_digits(cast: Cast) -> None:
    labels = [Label(name=str(number), key=key) for number, key in enumerate(["", "2", "n", "u", "", ""])]
    assert [choice.key for choice in label_choices(labels)] == ["1", "2", "n", "3", "4", "5"]
    many = [Label(name=str(number)) for number in range(12)]
    assert [choice.key for choice in label_choices(many)] == [*"1234567890", "", ""]
