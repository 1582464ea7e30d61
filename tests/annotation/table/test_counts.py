from __future__ import annotations

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotation.jobs import kinds
from annotation.jobs.work import work_on
from annotation.models import Flag, Sample, SavedFilter, Source, Stage
from annotation.pipeline.iterate import restore_round
from annotation.pipeline.review import bulk, corrections
from annotation.pipeline.review.bulk import Choice
from annotation.table.counts import count_rows, row_counts
from tests.support.factories import make_project
from tests.support.pages import Cast, judge_rows, make_cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    cast = make_cast()
    judge_rows(cast.project)
    return cast


def page(cast: Cast, role: str, query: str = "") -> str:
    answer = cast.client(role).get(cast.url(f"review/{query}"))
    assert answer.status_code == 200
    return answer.content.decode()


# --- Saved filters ------------------------------------------------------------------------------------------------


def test_a_saved_filter_keeps_filters_and_order_and_no_place(cast: Cast) -> None:
    query = "?show=wrong&sort=clean&after=0.5~3&evil=1"
    answer = cast.client("reviewer").post(cast.url("review/filters/save/"), {"name": "Odd", "query": query})
    assert answer["Location"] == cast.url("review/?show=wrong&sort=clean")
    assert SavedFilter.objects.get().query == "?show=wrong&sort=clean"


def test_the_same_name_again_replaces_ones_own_filter(cast: Cast) -> None:
    for query in ("?show=wrong", "?show=right"):
        cast.client("viewer").post(cast.url("review/filters/save/"), {"name": "Mine", "query": query})
    assert SavedFilter.objects.get().query == "?show=right"


def test_a_shared_filter_is_seen_by_all_and_an_own_one_by_nobody_else(cast: Cast) -> None:
    client = cast.client("reviewer")
    client.post(cast.url("review/filters/save/"), {"name": "Ours", "query": "?show=wrong", "is_shared": "1"})
    client.post(cast.url("review/filters/save/"), {"name": "Secretly", "query": "?show=right"})
    assert "Ours" in page(cast, "viewer")
    assert "Secretly" not in page(cast, "owner")
    assert "Secretly" in page(cast, "reviewer")


def test_a_viewer_shares_nothing(cast: Cast) -> None:
    data = {"name": "Mine", "query": "?show=wrong", "is_shared": "1"}
    cast.client("viewer").post(cast.url("review/filters/save/"), data)
    assert not SavedFilter.objects.get().is_shared


def test_only_its_owner_or_an_owner_of_the_project_removes_a_shared_filter(cast: Cast) -> None:
    saved = SavedFilter.objects.create(
        project=cast.project, owner=cast.users["viewer"], name="x", query="?", is_shared=True
    )
    url = cast.url(f"review/filters/{saved.pk}/remove/")
    cast.client("reviewer").post(url)
    assert SavedFilter.objects.exists()
    cast.client("owner").post(url)
    assert not SavedFilter.objects.exists()


def test_a_filter_that_the_table_does_not_offer_is_not_saved(cast: Cast) -> None:
    cast.client("owner").post(cast.url("review/filters/save/"), {"name": "x", "query": "?label=99999"})
    assert not SavedFilter.objects.exists()


# --- Columns ------------------------------------------------------------------------------------------------------


def test_columns_are_remembered_for_the_member_alone(cast: Cast) -> None:
    cast.client("reviewer").post(cast.url("review/columns/"), {"column": ["llm", "uploaded-0", "evil"]})
    mine, theirs = page(cast, "reviewer"), page(cast, "viewer")
    assert 'data-l="Clean probability"' not in mine
    assert 'data-l="LLM"' in mine
    assert '<td class="cell" data-l="id" title="r0">r0</td>' in mine
    assert 'data-l="Clean probability"' in theirs
    assert 'data-l="id"' not in theirs


def test_a_row_that_was_just_corrected_has_the_same_columns(cast: Cast) -> None:
    client = cast.client("reviewer")
    client.post(cast.url("review/columns/"), {"column": ["llm", "id"]})
    url = cast.url(f"samples/{cast.project.samples.get(position=0).pk}/correct/")
    html = client.post(
        url, {"label": cast.project.label_list()[0].pk}, headers={"hx-request": "true"}
    ).content
    assert b'<td class="cell" data-l="Id" title="r0">r0</td>' in html
    assert b'data-l="SLM"' not in html


def test_the_usual_columns_come_back(cast: Cast) -> None:
    client = cast.client("reviewer")
    client.post(cast.url("review/columns/"), {"column": ["llm"]})
    client.post(cast.url("review/columns/"), {"column": ["llm"], "usual": "1"})
    assert 'data-l="Clean probability"' in page(cast, "reviewer")


def test_the_reference_labels_are_no_column_of_the_review(cast: Cast) -> None:
    cast.project.reference_column = "truth"
    cast.project.save()
    html = page(cast, "owner")
    assert 'value="uploaded-1"' in html
    assert 'value="uploaded-2"' not in html


# --- Counts -------------------------------------------------------------------------------------------------------


def recount(cast: Cast) -> dict[str, int]:
    rows = list(cast.project.samples.exclude(source=Source.PERSON).values_list("flag", flat=True))
    return {flag: rows.count(flag) for flag in (Flag.RIGHT, Flag.WRONG, Flag.INCONSISTENT)}


def test_the_counts_equal_a_recount_after_everything_that_changes_rows(cast: Cast) -> None:
    user, label = cast.users["reviewer"], cast.project.label_list()[0]

    def agrees() -> bool:
        counts = count_rows(cast.project)
        decided = cast.project.samples.filter(source=Source.PERSON).count()
        return (counts.flags, counts.rows, counts.decided) == (recount(cast), 12, decided)

    assert agrees()
    sample = cast.project.samples.get(position=0)
    corrections.correct_sample(sample.pk, label_id=label.pk, user=user)
    assert agrees()
    corrections.correct_sample(sample.pk, label_id=None, user=user)
    assert agrees()
    batch = bulk.start_batch(cast.project, Choice(label=label, query="show=inconsistent"), user=user)
    assert agrees()
    bulk.undo_batch(batch, user=user)
    assert agrees()
    stage = cast.project.stages.get(kind=kinds.SLM.key)
    Sample.objects.filter(position__lt=6).update(flag=Flag.WRONG)
    Stage.objects.filter(pk=stage.pk).update(attempt=stage.attempt + 1)
    assert agrees()
    with work_on(restore_round.start_restore(cast.project.iterations.get(), user=None).pk) as job:
        assert job
        restore_round.run_restore(job)
    assert not cast.project.samples.filter(flag=Flag.WRONG).exists()
    assert agrees()


def test_the_rows_are_counted_once_and_not_by_every_page(cast: Cast) -> None:
    count_rows(cast.project)
    cast.project.samples.filter(position=0).delete()
    assert count_rows(cast.project).rows == 12, "no stage has written since"
    cache.clear()
    assert count_rows(cast.project).rows == 11


def test_the_list_of_projects_knows_the_rows_of_each_without_counting_them_again(cast: Cast) -> None:
    owner = cast.users["owner"]
    projects = [cast.project, *(make_project(rows=rows, owner=owner) for rows in (3, 5))]
    expected = {project.pk: project.samples.count() for project in projects}
    assert row_counts(projects) == expected
    with CaptureQueriesContext(connection) as queries:
        assert row_counts(projects) == expected
    assert len(queries) == 1
    Stage.objects.create(project=projects[1], kind=kinds.IMPORT.key, status=Stage.Status.DONE)
    projects[1].samples.filter(position=0).delete()
    assert row_counts(projects) == expected | {projects[1].pk: 2}
