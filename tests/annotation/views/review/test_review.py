from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotation.models import Correction, Label, Project, Sample, Source
from annotation.table.keyset import SORTS, Cursor, Sort, page_of
from tests.support.pages import Cast, judge_rows, make_cast, one_line

pytestmark = pytest.mark.django_db

HOSTILE = "</td><script>alert(1)</script><b onmouseover=x>&lt;"
HTMX = {"hx-request": "true"}


@pytest.fixture
def cast() -> Cast:
    cast = make_cast()
    judge_rows(cast.project)
    return cast


def page(cast: Cast, query: str = "", role: str = "reviewer") -> str:
    answer = cast.client(role).get(cast.url(f"review/{query}"))
    assert answer.status_code == 200
    return one_line(answer.content.decode())


def shown_rows(html: str) -> list[int]:
    return [int(pk) for pk in re.findall(r'<tr id="sample-(\d+)"', html)]


# --- Correcting ---------------------------------------------------------------------------------------------------


def test_one_row_is_corrected_in_place(cast: Cast) -> None:
    sample, label = first_row(cast.project), cast.project.label_list()[1]
    answer = cast.client("reviewer").post(
        cast.url(f"samples/{sample.pk}/correct/"),
        {"label": label.pk, "version": 0, "because": "queue"},
        headers=HTMX,
    )
    html = one_line(answer.content.decode())
    assert html.startswith(f'<tr id="sample-{sample.pk}"')
    assert "✓ saved" in html
    assert "by reviewer" in html
    sample.refresh_from_db()
    assert (sample.label, sample.source, sample.version) == (label, Source.PERSON, 1)
    assert Correction.objects.get().because == Correction.Because.QUEUE


def first_row(project: Project) -> Sample:
    return project.samples.get(position=0)


def test_without_scripts_the_row_is_saved_and_the_page_comes_back(cast: Cast) -> None:
    sample, label = first_row(cast.project), cast.project.label_list()[1]
    answer = cast.client("reviewer").post(
        cast.url(f"samples/{sample.pk}/correct/"),
        {"label": label.pk, "version": 0, "back": cast.url("review/?show=wrong")},
    )
    assert answer["Location"] == cast.url(f"review/?show=wrong#sample-{sample.pk}")
    sample.refresh_from_db()
    assert sample.label == label


def test_the_way_back_leads_to_no_other_site(cast: Cast) -> None:
    sample = first_row(cast.project)
    for elsewhere in ("https://evil.test/", "//evil.test/", "javascript:alert(1)"):
        answer = cast.client("reviewer").post(
            cast.url(f"samples/{sample.pk}/correct/"), {"label": "", "back": elsewhere}
        )
        assert answer["Location"] == cast.url(f"review/#sample-{sample.pk}")


def test_choosing_nothing_withdraws_the_correction(cast: Cast) -> None:
    sample, label = first_row(cast.project), cast.project.label_list()[1]
    client = cast.client("reviewer")
    client.post(cast.url(f"samples/{sample.pk}/correct/"), {"label": label.pk, "version": 0})
    client.post(cast.url(f"samples/{sample.pk}/correct/"), {"label": "", "version": 1})
    sample.refresh_from_db()
    assert sample.source == Source.SLM


def test_who_was_overtaken_sees_what_the_other_chose(cast: Cast) -> None:
    sample, (good, bad) = first_row(cast.project), cast.project.label_list()
    url = cast.url(f"samples/{sample.pk}/correct/")
    cast.client("owner").post(url, {"label": bad.pk, "version": 0})
    html = cast.client("reviewer").post(url, {"label": good.pk, "version": 0}, headers=HTMX).content.decode()
    assert "owner has set this row to “negative” in the meantime" in html
    assert 'value="1"' in html  # the fresh version, so that a second choice goes through
    sample.refresh_from_db()
    assert sample.label == bad


def test_a_label_of_another_project_is_refused_with_a_sentence(cast: Cast) -> None:
    foreign = Label.objects.create(
        project=Project.objects.create(name="x", owner=cast.users["owner"]), name="foreign"
    )
    sample = first_row(cast.project)
    html = (
        cast.client("reviewer")
        .post(cast.url(f"samples/{sample.pk}/correct/"), {"label": foreign.pk, "version": 0}, headers=HTMX)
        .content.decode()
    )
    assert "does not belong to the project" in html
    assert not Correction.objects.exists()


def test_fields_that_are_not_asked_for_are_ignored(cast: Cast) -> None:
    sample, label = first_row(cast.project), cast.project.label_list()[1]
    data = {
        "label": label.pk,
        "version": 0,
        "source": "llm",
        "corrected_by": cast.users["owner"].pk,
        "project": 99,
    }
    cast.client("reviewer").post(cast.url(f"samples/{sample.pk}/correct/"), data)
    sample.refresh_from_db()
    assert (sample.source, sample.corrected_by) == (Source.PERSON, cast.users["reviewer"])


def test_a_viewer_sees_labels_and_no_form(cast: Cast) -> None:
    assert "hx-post" not in page(cast, role="viewer").partition('<div id="rows"')[2]
    assert "hx-post" in page(cast, role="reviewer").partition('<div id="rows"')[2]


# --- Looking ------------------------------------------------------------------------------------------------------


def test_the_three_buttons_count_and_show_their_rows(cast: Cast) -> None:
    html = page(cast)
    assert re.search(r"Models disagree</span><span class=\"count\">4<", html)
    assert re.search(r"Likely right</span><span class=\"count\">8<", html)
    wrong = shown_rows(page(cast, "?show=inconsistent"))
    assert wrong == list(
        cast.project.samples.filter(flag="inconsistent").order_by("position").values_list("pk", flat=True)
    )


def test_each_row_leads_to_its_history_for_whoever_may_review(cast: Cast) -> None:
    link = f"focus/?row={first_row(cast.project).pk}"
    assert link in page(cast)
    assert link not in page(cast, role="viewer")


def test_a_row_that_is_likely_right_says_that_nothing_is_to_do(cast: Cast) -> None:
    assert "no action needed" in page(cast, "?show=right")
    assert "no action needed" not in page(cast, "?show=inconsistent")


def test_a_past_round_is_shown_to_look_at_only(cast: Cast) -> None:
    cast.project.iterations.create(
        number=2, started_from="slm", labels=[], prompt={}, llm_settings={}, slm_settings={}
    )
    html = page(cast, "?round=1", role="owner")
    assert "Round 1, read only" in html
    assert "Current label" in html
    assert "/correct/" not in html


def test_after_going_back_the_later_round_is_called_withdrawn(
    cast: Cast,
) -> None:
    cast.project.iterations.create(
        number=2,
        started_from="slm",
        labels=[],
        prompt={},
        llm_settings={},
        slm_settings={},
        withdrawn_at=timezone.now(),
    )
    html = page(cast, role="owner")
    assert re.search(r'<option value="1" selected>1 · from LLM · current</option>', html)
    assert re.search(r'<option value="2">2 · from SLM · rolled back</option>', html)
    assert "/correct/" in html, "the rows of the round in force are corrected"
    html = page(cast, "?round=2", role="owner")
    assert "Round 2, rolled back" in html
    assert "Go to the current round 1" in html


def test_the_label_says_which_models_it_is_of(cast: Cast) -> None:
    third = Label.objects.create(project=cast.project, name="mixed", position=3)
    cast.project.samples.filter(position=0).update(label=third)
    html = page(cast, "?show=inconsistent")
    assert "mixed (both combined)" in html
    assert "negative (SLM)" in html
    assert "negative (both models)" in page(cast, "?show=right")


@pytest.mark.parametrize(("slm", "is_told"), [(0.99, True), (0.2, False)])
def test_file_and_models_are_compared_side_by_side_with_the_reference_labels(
    cast: Cast, slm: float, is_told: bool
) -> None:
    cast.project.samples.filter(position=0).update(label=cast.project.label_list()[1])  # one is wrong
    cast.project.iterations.update(metrics={"llm": {"accuracy": 0.5}, "slm": {"accuracy": slm}})
    html = page(cast)
    assert re.search(rf"91\.7\s%.*LLM only</dt><dd>50\.0.*SLM only</dt><dd>{slm * 100:.1f}", html, re.DOTALL)
    assert ("the SLM alone is right more often than the final labels" in html) == is_told


def test_a_round_that_is_not_there_is_not_found(cast: Cast) -> None:
    for wrong in ("7", "0", "x", "1 OR 1=1"):
        assert cast.client("viewer").get(cast.url("review/"), {"round": wrong}).status_code == 404


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("sort=owner__password", "Sort: Select a valid choice"),
        ("sort=project__llm_token", "Sort: Select a valid choice"),
        ("show=pk__in", "Show: Select a valid choice"),
        ("min_confidence=abc", "SLM confidence from (%): Enter a number."),
        ("max_confidence=101", "SLM confidence to (%): Ensure this value is less"),
        ("in_round=two", "Judged in round: Enter a whole number."),
        ("row=0", "Row: Ensure this value is greater"),
        ("after=0.5", "This page link is not valid"),
        ("after=nan~1", "This page link is not valid"),
        ("sort=position&after=1e300~1", "This page link is not valid"),
        (f"after=0.5~{9**30}", "This page link is not valid"),
        ("before=x~y", "This page link is not valid"),
        ("label=999999", "Label: Select a valid choice"),
        ("label=x", "Label: Select a valid choice"),
    ],
)
def test_what_the_table_does_not_offer_is_refused_in_a_sentence_that_names_it(
    cast: Cast, query: str, sentence: str
) -> None:
    answer = cast.client("owner").get(cast.url(f"review/?{query}"))
    assert answer.status_code == 400
    assert "This request is not valid" in answer.content.decode()
    assert sentence in answer.content.decode()


def test_the_whole_name_of_a_label_can_be_read_where_its_list_is_too_narrow(cast: Cast) -> None:
    name = "a complaint about a parcel that came late or not at all"
    Label.objects.filter(position=1).update(name=name)
    assert f'title="{name}"' in page(cast)


def test_search_takes_wildcards_as_plain_characters(cast: Cast) -> None:
    Sample.objects.filter(position=3).update(text="100 % sure_thing")
    assert len(shown_rows(page(cast, "?q=%25 sure_"))) == 1
    assert shown_rows(page(cast, "?q=%25%25")) == []


def test_hostile_texts_stay_texts(cast: Cast) -> None:
    Sample.objects.filter(position=0).update(text=HOSTILE)
    Label.objects.filter(position=1).update(name=HOSTILE[:100])
    Project.objects.filter(pk=cast.project.pk).update(name=HOSTILE)
    cast.project.iterations.update(demonstrations=[{"key": 1, "shown": HOSTILE, "label": HOSTILE}])
    cast.project.stages.update(error=HOSTILE)
    User.objects.filter(username="reviewer").update(username="re<b>viewer")
    for path in (
        "review/",
        "review/?q=" + HOSTILE,
        "labeling/",
        "filtering/",
        "filtering/plots/",
        "rounds/",
        "export/",
        "members/",
        "configure/task/",
        "configure/labels/",
        "configure/prompt/",
        "configure/start/",
    ):
        answer = cast.client("owner").get(cast.url(path))
        html = answer.content.decode()
        assert answer.status_code == 200, path
        if answer["Content-Type"].startswith("application/json"):
            continue
        assert "<script>alert" not in html, path
        assert "<b onmouseover" not in html, path
        assert "<b>viewer" not in html, path


def test_the_policy_is_enforced_and_allows_nothing_inline(cast: Cast) -> None:
    answer = cast.client("owner").get(cast.url("review/"))
    policy = answer["Content-Security-Policy"]
    assert "unsafe" not in policy
    html = answer.content.decode()
    assert " style=" not in html
    assert not re.search(r" on[a-z]+=", html)
    assert not re.search(r"<script(?![^>]*(src|application/json))", html)


def test_htmx_gets_the_table_alone(cast: Cast) -> None:
    answer = cast.client("viewer").get(
        cast.url("review/"), headers={"hx-request": "true", "hx-target": "rows"}
    )
    html = one_line(answer.content.decode())
    assert html.startswith('<div id="rows"')
    assert "<html" not in html


def test_the_address_of_a_filtered_table_has_no_empty_fields(cast: Cast) -> None:
    answer = cast.client("viewer").get(
        cast.url("review/?show=right&label=&sort=queue&q="),
        headers={"hx-request": "true", "hx-target": "rows"},
    )
    assert answer["HX-Push-Url"] == cast.url("review/?show=right")


def test_a_long_table_takes_no_more_queries_than_a_short_one() -> None:
    counts = []
    for name, rows in (("a", 12), ("b", 170)):
        cast = make_named_cast(name, rows)
        client = cast.client("owner")
        client.get(cast.url("review/"))  # counts once
        for query in ("?sort=clean", "?show=right&sort=-confidence", "?q=film", "?llm=%d&source=slm"):
            label = cast.project.label_list()[0].pk
            with CaptureQueriesContext(connection) as queries:
                assert client.get(cast.url(f"review/{query.replace('%d', str(label))}")).status_code == 200
            counts.append(len(queries))
    one_range_more = 2  # with its window's end: where a page ends with the rows that have no value
    assert all(abs(few - many) <= one_range_more for few, many in zip(counts[:4], counts[4:], strict=True))
    assert max(counts) <= 30


def make_named_cast(name: str, rows: int) -> Cast:
    from tests.support.factories import make_project, make_user

    owner = make_user(name)
    cast = Cast(make_project(rows=rows, owner=owner), {"owner": owner})
    judge_rows(cast.project)
    return cast


# --- Pages by keyset ----------------------------------------------------------------------------------------------


def scatter_values(project: Project) -> None:
    """Many ties, and some rows without a value."""
    for sample in project.samples.all():
        value = None if sample.position % 5 == 0 else (sample.position % 3) / 10
        Sample.objects.filter(pk=sample.pk).update(
            confidence=value, clean_prob=value, risk=value, queue_rank=sample.position or None
        )


def in_order(project: Project, sort: Sort) -> list[int]:
    """What the pages must give, computed the simple way."""
    rows = list(project.samples.all())
    known = [row for row in rows if getattr(row, sort.field) is not None]
    known.sort(key=lambda row: (getattr(row, sort.field), row.pk), reverse=sort.descending)
    return [row.pk for row in known] + sorted(row.pk for row in rows if getattr(row, sort.field) is None)


@pytest.mark.parametrize("name", SORTS)
def test_pages_give_every_row_once_and_in_order_forwards_and_backwards(name: str) -> None:
    project, sort = make_named_cast("a", 23).project, SORTS[name]
    scatter_values(project)
    expected = in_order(project, sort)
    pages = [page_of(project, sort, size=4)]
    while pages[-1].next:
        pages.append(page_of(project, sort, after=Cursor.parse(str(pages[-1].next)), size=4))
    assert [row.pk for each in pages for row in each.rows] == expected
    back = [pages[-1]]
    while back[-1].previous:
        back.append(page_of(project, sort, before=Cursor.parse(str(back[-1].previous)), size=4))
    assert [row.pk for each in reversed(back) for row in each.rows] == expected


def test_a_page_at_any_depth_is_found_without_an_offset(cast: Cast) -> None:
    with CaptureQueriesContext(connection) as queries:
        page_of(cast.project, SORTS["clean"], after=Cursor(0.1, 5))
    assert 1 <= len(queries) <= 3
    assert not any("OFFSET" in query["sql"] for query in queries)
