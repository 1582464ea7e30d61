from __future__ import annotations

from collections.abc import Callable
from html import unescape
from itertools import product

import pytest
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from annotation.errors import AnnotationError
from annotation.models import Project, Sample, Source
from annotation.pipeline.review import corrections
from annotation.table import form as table_form
from annotation.table import keyset
from annotation.table.filters import filter_rows, plain_query
from annotation.table.form import TableForm
from tests.support.pages import Cast, judge_rows, make_cast, one_line

pytestmark = pytest.mark.django_db

Matches = Callable[[Sample], bool]


@pytest.fixture
def cast() -> Cast:
    """Judged rows of which a few are corrected, one against the models, and some lie in another round."""
    cast = make_cast(rows=36)
    judge_rows(cast.project)
    labels = cast.project.label_list()
    for position, label in ((1, labels[0]), (2, labels[0]), (5, labels[1])):
        sample = cast.project.samples.get(position=position)
        corrections.correct_sample(sample.pk, label_id=label.pk, user=cast.users["reviewer"])
    cast.project.samples.filter(position__in=(7, 8)).update(round=3)
    cast.project.samples.filter(position=11).update(
        label=None, source="", confidence=None, clean_prob=None, risk=None, queue_rank=None, flag=""
    )
    return cast


def filters_of(cast: Cast) -> list[tuple[str, Matches]]:
    """Every filter as an address, and what it means, said of one row."""
    good, bad = cast.project.label_list()
    reviewer = cast.users["reviewer"].pk
    return [
        ("", lambda row: True),
        ("show=right", lambda row: row.flag == "right" and row.source != Source.PERSON),
        ("show=inconsistent", lambda row: row.flag == "inconsistent" and row.source != Source.PERSON),
        ("show=corrected", lambda row: row.source == Source.PERSON),
        ("show=unlabelled", lambda row: row.label_id is None),
        (f"label={good.pk}", lambda row: row.label_id == good.pk),
        (f"llm={bad.pk}", lambda row: row.llm_label_id == bad.pk),
        (f"slm={good.pk}", lambda row: row.slm_label_id == good.pk),
        ("source=slm", lambda row: row.source == Source.SLM),
        ("differ=models", lambda row: row.llm_label_id != row.slm_label_id),
        ("differ=person", lambda row: row.source == Source.PERSON and row.label_id != row.slm_label_id),
        (f"by={reviewer}", lambda row: row.corrected_by_id == reviewer),
        ("in_round=3", lambda row: row.round == 3),
        ("min_confidence=60", lambda row: row.confidence is not None and row.confidence >= 0.6),
        ("max_confidence=70", lambda row: row.confidence is not None and row.confidence <= 0.7),
        ("q=NUMBER 1", lambda row: "number 1" in row.text),
    ]


def form_of(project: Project, query: str) -> TableForm:
    form = TableForm(QueryDict(query), project=project, default_sort="position")
    assert form.is_valid(), form.errors
    return form


def all_pages(
    project: Project, query: str, sort: keyset.Sort, size: int = 50, window: int = 4_000
) -> list[int]:
    """The rows of all pages, from the first on."""
    conditions, found, after = form_of(project, query).conditions, [], None
    while True:
        page = keyset.page_of(project, sort, conditions=conditions, after=after, size=size, window=window)
        found += [row.pk for row in page.rows]
        if page.next is None:
            return found
        after = keyset.Cursor.parse(str(page.next))


def test_every_two_filters_combine_in_the_table_and_in_background_work(cast: Cast) -> None:
    rows = list(cast.project.samples.order_by("position"))
    for (one, holds), (other, holds_too) in product(filters_of(cast), repeat=2):
        if one.partition("=")[0] == other.partition("=")[0] and one != other:
            continue  # the same filter twice: the address has room for one value
        query = f"{one}&{other}" if one != other else one
        expected = [row.pk for row in rows if holds(row) and holds_too(row)]
        assert all_pages(cast.project, query, keyset.SORTS["position"]) == expected, query
        found = filter_rows(cast.project, query).values_list("pk", flat=True)
        assert sorted(found) == sorted(expected), query


@pytest.mark.parametrize("name", keyset.SORTS)
@pytest.mark.parametrize("few", [0, 1_000])
def test_a_search_by_windows_loses_no_row_in_any_order(
    cast: Cast, name: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyset, "FEW_ROWS", few)
    sort = keyset.SORTS[name]
    for query, holds in filters_of(cast):
        rows = [row for row in cast.project.samples.all() if holds(row)]
        known = [row for row in rows if getattr(row, sort.field) is not None]
        known.sort(key=lambda row: (getattr(row, sort.field), row.pk), reverse=sort.descending)
        expected = [row.pk for row in known]
        expected += sorted(row.pk for row in rows if getattr(row, sort.field) is None)
        assert all_pages(cast.project, query, sort, size=3, window=5) == expected, query


def test_a_search_goes_backwards_by_windows_as_well(cast: Cast) -> None:
    conditions, sort = form_of(cast.project, "q=number 1").conditions, keyset.SORTS["clean"]
    forwards = all_pages(cast.project, "q=number 1", sort)
    place: keyset.Cursor | None = keyset.Cursor(None, 10**9)
    backwards: list[int] = []
    while place:
        page = keyset.page_of(cast.project, sort, conditions=conditions, before=place, size=2, window=4)
        backwards = [row.pk for row in page.rows] + backwards
        place = page.previous
    assert backwards == forwards


def test_a_page_looks_at_no_more_rows_than_its_window_and_says_so(cast: Cast) -> None:
    conditions = form_of(cast.project, "q=number 35").conditions
    page = keyset.page_of(cast.project, keyset.SORTS["position"], conditions=conditions, window=10)
    assert (page.rows, page.searched) == ([], 10)
    assert page.next == keyset.Cursor(9, cast.project.samples.get(position=9).pk)


def test_no_filter_lets_the_database_choose_an_index_that_does_not_give_the_order(cast: Cast) -> None:
    good, bad = cast.project.label_list()
    for query in (
        f"llm={good.pk}&label={bad.pk}",
        "source=slm",
        "in_round=1",
        "min_confidence=10",
        "show=right",
    ):
        conditions = form_of(cast.project, query).conditions
        with CaptureQueriesContext(connection) as queries:
            keyset.page_of(cast.project, keyset.SORTS["clean"], conditions=conditions)
        plan = explain(queries[-1]["sql"])
        assert "TEMP B-TREE" not in plan or "id IN" in queries[-1]["sql"] or "rowid=?" in plan, (query, plan)


def test_few_rows_that_an_index_tells_are_read_by_their_ids(cast: Cast) -> None:
    label, reviewer = cast.project.label_list()[0].pk, cast.users["reviewer"].pk
    for filters, place in {
        f"label={label}": "(label_id=?)",
        f"llm={label}": "(llm_label_id=?)",
        f"slm={label}": "(slm_label_id=?)",
        f"llm={label}&slm={label}": "(llm_label_id=? AND slm_label_id=?)",
        f"by={reviewer}": "(corrected_by_id=? AND project_id=?)",
    }.items():
        conditions = form_of(cast.project, filters).conditions
        with CaptureQueriesContext(connection) as queries:
            keyset.page_of(cast.project, keyset.SORTS["queue"], conditions=conditions)
        lookup, *reads = [query["sql"] for query in queries.captured_queries]
        assert place in explain(lookup), (filters, lookup)
        for sql in reads:
            assert "annotation_sample USING INTEGER PRIMARY KEY (rowid=?)" in explain(sql), (filters, sql)


def explain(sql: str) -> str:
    if connection.vendor != "sqlite":
        pytest.skip("reads SQLite's plans")
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        return " ".join(row[3] for row in cursor.fetchall())


def test_a_stored_filter_that_no_longer_fits_is_refused_in_a_sentence(cast: Cast) -> None:
    with pytest.raises(AnnotationError, match="no longer fits the project: LLM label"):
        filter_rows(cast.project, "llm=999999")


def test_a_filter_is_stored_without_its_place_and_order(cast: Cast) -> None:
    assert (
        plain_query(cast.project, "?show=right&sort=clean&after=0.5~3&round=1&q=a b&evil=1")
        == "show=right&q=a+b"
    )
    assert plain_query(cast.project, "?show=nonsense") == ""


def test_a_search_tells_how_many_rows_it_has_looked_at_in_all(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_form, "WINDOW_ROWS", 5)
    monkeypatch.setattr(table_form, "FAR_WINDOW_ROWS", 10)
    client, address = cast.client("viewer"), "?q=zebra&sort=position"
    for looked_at in (5, 15, 25):
        html = one_line(client.get(cast.url(f"review/{address}")).content.decode())
        assert f"None of the {looked_at} rows searched so far matches." in html
        address = "?" + unescape(html).partition('class="btn" href="')[2].partition('"')[0].partition("?")[2]
