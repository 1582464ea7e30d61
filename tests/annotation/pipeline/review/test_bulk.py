from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotation.errors import AnnotationError, ConflictError
from annotation.jobs import state
from annotation.jobs.work import work_on
from annotation.messages import message_text
from annotation.models import Correction, CorrectionBatch, Label, Prediction, Project, Sample, Source, Stage
from annotation.pipeline.review import bulk, corrections
from annotation.pipeline.review.bulk import Choice
from annotation.views.review import review as review_page
from mlcore.errors import StoppedError
from tests.support.pages import Cast, judge_rows, make_cast, one_line

pytestmark = pytest.mark.django_db

STATE = ("pk", "label_id", "source", "risk", "corrected_by_id", "corrected_at")


@pytest.fixture
def cast() -> Cast:
    """Twelve judged rows, of which the reviewer has decided two."""
    cast = make_cast()
    judge_rows(cast.project)
    for position in (1, 3):
        sample = cast.project.samples.get(position=position)
        corrections.correct_sample(sample.pk, label_id=good(cast).pk, user=cast.users["reviewer"])
    return cast


def good(cast: Cast) -> Label:
    return cast.project.label_list()[0]


def bad(cast: Cast) -> Label:
    return cast.project.label_list()[1]


def states(project: Project) -> list[tuple[object, ...]]:
    return list(project.samples.order_by("pk").values_list(*STATE))


def run(batch: CorrectionBatch) -> Stage:
    assert batch.stage
    with work_on(batch.stage.pk) as job:
        assert job
        bulk.run_batch(job)
    batch.stage.refresh_from_db()
    return batch.stage


@pytest.fixture
def in_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is large, and is written in small pieces."""
    monkeypatch.setattr(bulk, "LARGE_ROWS", 0)
    monkeypatch.setattr(bulk, "WRITE_ROWS", 3)


def relabel(cast: Cast, **choice: object) -> CorrectionBatch:
    wanted = Choice(**{"label": bad(cast), "query": "", **choice})  # type: ignore[arg-type]
    return bulk.start_batch(cast.project, wanted, user=cast.users["owner"])


def test_all_rows_of_a_filter_get_the_label_and_what_people_decided_stays(cast: Cast) -> None:
    before = dict(cast.project.samples.filter(source="person").values_list("pk", "label_id"))
    reach = bulk.measure_reach(cast.project, Choice(label=bad(cast), query=""))
    batch = relabel(cast)
    assert (reach.rows, reach.left_alone) == (10, 2)
    assert batch.corrections.count() == 10
    assert dict(cast.project.samples.filter(pk__in=before).values_list("pk", "label_id")) == before
    others = cast.project.samples.exclude(pk__in=before)
    assert set(others.values_list("label", "source", "corrected_by", "risk", "version")) == {
        (bad(cast).pk, Source.PERSON, cast.users["owner"].pk, 0.0, 1)
    }


def test_each_row_has_a_correction_of_its_own_with_what_it_replaced(cast: Cast) -> None:
    rows = {row.pk: row for row in cast.project.samples.filter(flag="inconsistent").exclude(source="person")}
    batch = relabel(cast, query="show=inconsistent")
    for said in batch.corrections.all():
        row = rows.pop(said.sample_id)
        assert (said.label, said.replaced_label_id, said.replaced_source, said.round) == (
            bad(cast),
            row.label_id,
            row.source,
            row.round,
        )
    assert not rows


def test_people_are_overruled_only_if_that_is_asked_for(cast: Cast) -> None:
    batch = relabel(cast, include_corrected=True)
    assert batch.corrections.count() == 12
    assert not cast.project.samples.exclude(label=bad(cast)).exists()


def test_accepting_keeps_each_label_and_makes_it_a_persons(cast: Cast) -> None:
    before = dict(cast.project.samples.values_list("pk", "label_id"))
    batch = relabel(cast, label=None)
    assert batch.corrections.count() == 10
    assert dict(cast.project.samples.values_list("pk", "label_id")) == before
    assert not cast.project.samples.exclude(source=Source.PERSON).exists()


def test_a_selection_changes_those_rows_and_with_the_same_texts_if_asked(cast: Cast) -> None:
    chosen, twin = cast.project.samples.filter(position__in=(4, 6)).order_by("position")
    Sample.objects.filter(pk=twin.pk).update(content_hash=chosen.content_hash)
    alone = Choice(label=bad(cast), samples=[chosen.pk])
    assert bulk.measure_reach(cast.project, alone).rows == 1
    batch = relabel(cast, samples=[chosen.pk], same_texts=True)
    assert sorted(batch.corrections.values_list("sample", flat=True)) == [chosen.pk, twin.pk]


def test_rows_of_another_project_are_out_of_reach(cast: Cast) -> None:
    other = Project.objects.create(name="x", owner=cast.users["owner"])
    foreign = Sample.objects.create(project=other, position=0, text="x", fields=[], content_hash="x")
    with pytest.raises(AnnotationError, match="There is no row left"):
        relabel(cast, samples=[foreign.pk])


@pytest.mark.parametrize("background", [False, True])
def test_undoing_gives_every_row_back_what_it_had(
    cast: Cast, background: bool, request: pytest.FixtureRequest
) -> None:
    if background:
        request.getfixturevalue("in_background")
    before = states(cast.project)
    batch = relabel(cast, include_corrected=True)
    if background:
        assert run(batch).status == Stage.Status.DONE
    assert states(cast.project) != before
    undo = bulk.undo_batch(batch, user=cast.users["owner"])
    if background:
        assert run(undo).status == Stage.Status.DONE
    assert states(cast.project) == before
    assert Correction.objects.filter(undoes__batch=batch).count() == 12
    with pytest.raises(ConflictError, match="already been undone"):
        bulk.undo_batch(batch, user=cast.users["owner"])


def test_undoing_leaves_alone_what_somebody_corrected_since(cast: Cast) -> None:
    batch = relabel(cast)
    sample = cast.project.samples.get(position=0)
    corrections.correct_sample(sample.pk, label_id=good(cast).pk, user=cast.users["reviewer"])
    bulk.undo_batch(batch, user=cast.users["owner"])
    sample.refresh_from_db()
    assert (sample.label, sample.corrected_by) == (good(cast), cast.users["reviewer"])


def test_a_large_batch_that_is_stopped_goes_on_where_it_was(
    cast: Cast, in_background: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = relabel(cast)
    assert batch.stage
    assert batch.stage.total == 10
    write = bulk.carry_out

    def die_after_two(*args: object) -> int:
        if batch.corrections.count() >= 6:
            raise StoppedError
        return write(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(bulk, "carry_out", die_after_two)
    assert run_until_stopped(batch) == Stage.Status.QUEUED
    assert batch.corrections.count() == 6
    monkeypatch.setattr(bulk, "carry_out", write)
    stage = run(batch)
    assert (stage.status, stage.done, batch.corrections.count()) == (Stage.Status.DONE, 10, 10)


def test_a_batch_is_taken_back_when_it_is_over_and_does_not_go_on_afterwards(
    cast: Cast, in_background: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, batch = states(cast.project), relabel(cast)
    assert batch.stage
    with work_on(batch.stage.pk) as job:
        assert job
        bulk.carry_out(batch, [row.pk for row in cast.project.samples.filter(position__lt=3)])
        state.request_pause(batch.stage)
        raise_stopped()
    batch.stage.refresh_from_db()
    assert batch.stage.status == Stage.Status.PAUSED
    with pytest.raises(ConflictError, match="still being made"):
        bulk.undo_batch(batch, user=cast.users["owner"])
    state.request_cancel(batch.stage)
    run(bulk.undo_batch(batch, user=cast.users["owner"]))
    assert states(cast.project) == before
    state.resume(batch.stage)
    stage = run(batch)
    assert (stage.status, "already been undone" in message_text(stage.error)) == (Stage.Status.FAILED, True)
    assert states(cast.project) == before


def raise_stopped() -> None:
    raise StoppedError


def test_no_piece_of_a_large_batch_looks_at_rows_beside_it(cast: Cast, in_background: None) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("reads SQLite's plans")
    batch = relabel(cast, query=f"show=right&llm={good(cast).pk}", include_corrected=True)
    with CaptureQueriesContext(connection) as queries:
        run(batch)
        run(bulk.undo_batch(batch, user=cast.users["owner"]))
    for table, places in {
        "annotation_sample": ("rowid=?", "position>?", "position=?", "sqlite_autoindex_annotation_sample_1"),
        "annotation_correction": ("rowid=?", "rowid>?", "sample_id=?", "correction_of_batch", "undoes_id=?"),
        "annotation_prediction": ("sample_id=?", "sample=?"),
    }.items():
        asked = [query["sql"] for query in queries.captured_queries if f'FROM "{table}"' in query["sql"]]
        asked = [sql for sql in asked if "COUNT(" not in sql]  # once, for the progress
        assert asked
        for sql in asked:
            steps = [step for step in explain(sql) if table in step]
            assert all(any(place in step for place in places) for step in steps), (sql, steps)


def explain(sql: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        return [row[3] for row in cursor.fetchall()]


def test_rows_that_no_small_model_has_judged_go_back_to_the_llms_label(
    cast: Cast, in_background: None
) -> None:
    Prediction.objects.filter(sample__project=cast.project).delete()
    batch = relabel(cast)
    run(batch)
    run(bulk.undo_batch(batch, user=cast.users["owner"]))
    for row in cast.project.samples.exclude(source=Source.PERSON):
        assert (row.label_id, row.source, row.risk) == (row.llm_label_id, Source.LLM, None)
        assert (row.corrected_by, row.corrected_at, row.version) == (None, None, 2)


def run_until_stopped(batch: CorrectionBatch) -> str:
    assert batch.stage
    with work_on(batch.stage.pk) as job:
        assert job
        bulk.run_batch(job)
    batch.stage.refresh_from_db()
    return batch.stage.status


def test_what_a_person_decides_while_a_large_batch_runs_stays(cast: Cast, in_background: None) -> None:
    batch = relabel(cast)
    sample = cast.project.samples.get(position=0)
    corrections.correct_sample(sample.pk, label_id=good(cast).pk, user=cast.users["reviewer"])
    assert run(batch).done == 9
    sample.refresh_from_db()
    assert sample.corrected_by == cast.users["reviewer"]


# --- The pages ----------------------------------------------------------------------------------------------------


def test_the_number_comes_first_and_nothing_is_changed_by_looking(cast: Cast) -> None:
    html = page(cast, f"?matching=1&query=%3Fshow%3Dinconsistent&label={bad(cast).pk}")
    assert "Relabel 3 rows" in html
    assert "Accept 3 rows" in page(cast, "?matching=1&query=%3Fshow%3Dinconsistent&label=")
    assert not CorrectionBatch.objects.exists()


def page(cast: Cast, query: str) -> str:
    answer = cast.client("reviewer").get(cast.url(f"review/bulk/{query}"))
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_reviewer_relabels_chosen_rows_and_undoes_it_on_the_review_page(cast: Cast) -> None:
    client = cast.client("reviewer")
    rows = [cast.project.samples.get(position=place).pk for place in (5, 7)]
    client.post(cast.url("review/bulk/"), {"row": rows, "label": good(cast).pk, "query": "?sort=clean"})
    assert set(Sample.objects.filter(pk__in=rows).values_list("label", flat=True)) == {good(cast).pk}
    batch = CorrectionBatch.objects.get()
    html = client.get(cast.url("review/")).content.decode()
    assert f"bulk/{batch.pk}/undo/" in html
    client.post(cast.url(f"review/bulk/{batch.pk}/undo/"))
    assert not Sample.objects.filter(pk__in=rows, source="person").exists()


def test_the_accuracy_page_counts_rows_decided_in_bulk(
    cast: Cast,
) -> None:
    def shown() -> str:
        return cast.client("viewer").get(cast.url("accuracy/")).content.decode()

    assert "corrected in bulk" not in shown()
    batch = relabel(cast)
    assert f"{batch.corrections.count()} rows were corrected in bulk" in shown()
    bulk.undo_batch(batch, user=cast.users["owner"])
    assert "corrected in bulk" not in shown()


def test_a_reviewer_cannot_undo_what_somebody_else_did(cast: Cast) -> None:
    batch = relabel(cast)
    cast.client("reviewer").post(cast.url(f"review/bulk/{batch.pk}/undo/"))
    assert not CorrectionBatch.objects.filter(undoes=batch).exists()


@pytest.mark.parametrize("rows", [{}, {"row": "9" * 30}, {"row": "²"}])
def test_choosing_nothing_is_said_in_a_sentence(cast: Cast, rows: dict[str, str]) -> None:
    answer = cast.client("reviewer").post(
        cast.url("review/bulk/"), {"label": good(cast).pk, **rows}, follow=True
    )
    assert "No row is selected" in answer.content.decode()


def test_a_corrected_row_tells_of_others_with_its_text(cast: Cast) -> None:
    chosen, twin = cast.project.samples.filter(position__in=(4, 6)).order_by("position")
    Sample.objects.filter(pk=twin.pk).update(content_hash=chosen.content_hash)
    answer = cast.client("reviewer").post(
        cast.url(f"samples/{chosen.pk}/correct/"), {"label": bad(cast).pk}, headers={"hx-request": "true"}
    )
    assert "1 more row with this text" in answer.content.decode()


def test_rows_with_a_very_common_text_are_not_all_counted_for_each_correction(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_page, "MOST_SAME_TEXTS", 3)
    cast.project.samples.update(content_hash="c0" * 20)
    chosen = cast.project.samples.get(position=4)
    answer = cast.client("reviewer").post(
        cast.url(f"samples/{chosen.pk}/correct/"), {"label": bad(cast).pk}, headers={"hx-request": "true"}
    )
    assert "at least 3 more rows with this text" in one_line(answer.content.decode())


def test_who_made_a_batch_may_leave(cast: Cast) -> None:
    batch = relabel(cast)
    User.objects.create_user("heir")
    Sample.objects.update(corrected_by=None)
    CorrectionBatch.objects.filter(pk=batch.pk).update(user=None)
    assert cast.client("viewer").get(cast.url("review/")).status_code == 200
