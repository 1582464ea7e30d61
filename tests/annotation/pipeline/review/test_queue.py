"""The review queue: who is shown which row, claims, skips, second answers, and answers taken back."""

from __future__ import annotations

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from annotation.errors import ConflictError
from annotation.models import AuditDraw, Correction, Project, RowClaim, RowSkip, Sample, Source
from annotation.pipeline.measure import draw_sample
from annotation.pipeline.measure.accuracy import Evidence
from annotation.pipeline.review import corrections, queue
from tests.support.factories import make_project, make_user
from tests.support.pages import judge_rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    project = make_project(rows=24, owner=make_user("anna"))
    judge_rows(project)
    return project


@pytest.fixture
def anna(project: Project) -> User:
    return project.owner


@pytest.fixture
def ben() -> User:
    return make_user("ben")


def rows_of(project: Project, user: User, count: int = queue.HELD_ROWS) -> list[int]:
    return [claim.sample_id for claim in queue.take_rows(project, user=user, count=count)]


def answer(sample_id: int, user: User, place: int = 0, seen_version: int | None = None) -> Sample:
    label = Sample.objects.get(pk=sample_id).project.label_list()[place]
    return corrections.correct_sample(
        sample_id,
        label_id=label.pk,
        user=user,
        because="queue",
        answer_id=uuid4(),
        seen_version=seen_version,
    )


# --- Claims -------------------------------------------------------------------------------------------------------


def test_rows_come_in_the_order_of_the_queue(project: Project, anna: User) -> None:
    project.samples.filter(position=20).update(queue_rank=0)
    expected = [project.samples.get(position=20).pk, project.samples.get(position=0).pk]
    assert rows_of(project, anna)[:2] == expected


def test_the_same_person_gets_the_same_rows_after_a_reload(project: Project, anna: User) -> None:
    assert rows_of(project, anna) == rows_of(project, anna)
    assert RowClaim.objects.count() == queue.HELD_ROWS


def test_two_people_never_get_the_same_row(project: Project, anna: User, ben: User) -> None:
    first, second = rows_of(project, anna), rows_of(project, ben)
    assert len(first) == len(second) == queue.HELD_ROWS
    assert not set(first) & set(second)


def test_an_answered_row_makes_place_for_the_next(project: Project, anna: User) -> None:
    before = rows_of(project, anna)
    answer(before[0], anna)
    after = rows_of(project, anna)
    assert after[:-1] == before[1:]
    assert after[-1] not in before


def test_a_claim_runs_out(project: Project, anna: User, ben: User) -> None:
    held = rows_of(project, anna)
    RowClaim.objects.update(until=timezone.now() - timedelta(seconds=1))
    assert rows_of(project, ben) == held
    assert not set(rows_of(project, anna)) & set(held)


def test_a_row_decided_elsewhere_leaves_the_queue_of_its_holder(
    project: Project, anna: User, ben: User
) -> None:
    held = rows_of(project, anna)
    answer(held[1], ben)
    assert held[1] not in rows_of(project, anna)


def test_who_asks_for_more_rows_than_are_left_gets_what_is_left(
    project: Project, anna: User, ben: User
) -> None:
    assert len(rows_of(project, anna, 20)) == 20
    assert len(rows_of(project, ben, 20)) == 4
    assert len(rows_of(project, make_user("carla"))) == 0


def test_a_skipped_row_goes_to_others_and_comes_back_at_the_end(
    project: Project, anna: User, ben: User
) -> None:
    skipped = rows_of(project, anna)[0]
    queue.skip_row(Sample.objects.get(pk=skipped), user=anna)
    assert skipped not in rows_of(project, anna)
    assert rows_of(project, ben, 1) == [skipped]
    RowClaim.objects.filter(user=ben).delete()
    for row in project.samples.exclude(pk=skipped):
        answer(row.pk, anna)
    assert rows_of(project, anna) == [skipped]
    assert RowSkip.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_people_who_ask_at_the_same_moment_get_different_rows() -> None:
    project = make_project(rows=60, owner=make_user("anna"))
    judge_rows(project)
    people = [project.owner, *(make_user(name) for name in ("ben", "carla", "dora"))]
    found: dict[str, list[int]] = {}
    start = threading.Barrier(len(people))

    def take(user: User) -> None:
        start.wait()
        found[user.username] = rows_of(project, user)
        connection.close()

    threads = [threading.Thread(target=take, args=(user,)) for user in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = [row for rows in found.values() for row in rows]
    assert len(taken) == len(set(taken)) == len(people) * queue.HELD_ROWS


def test_taking_rows_costs_the_same_few_queries_in_a_large_project(
    anna: User, project: Project, django_assert_max_num_queries: object
) -> None:
    with django_assert_max_num_queries(12):  # type: ignore[operator]
        taken = rows_of(project, anna)
    assert len(taken) == queue.HELD_ROWS


# --- Audits -------------------------------------------------------------------------------------------------------


def test_rows_drawn_at_random_come_soon_also_to_who_holds_rows_already(project: Project, anna: User) -> None:
    before = rows_of(project, anna)
    draw_sample.draw_sample(project, rows=10, user=anna, seed=0)
    claims = queue.take_rows(project, user=anna)
    assert [claim.because for claim in claims[:4]] == ["queue", "queue", "audit", "audit"]
    kept = [row for row in before if not AuditDraw.objects.filter(sample=row).exists()]
    assert [claim.sample_id for claim in claims if claim.because == "queue"][: len(kept)] == kept
    drawn = claims[2].sample_id
    corrections.correct_sample(drawn, label_id=project.label_list()[0].pk, user=anna, because="audit")
    assert [claim.because for claim in queue.take_rows(project, user=anna)].count("audit") == 2


def test_a_row_held_when_it_is_drawn_goes_back_and_is_shown_blind(
    project: Project, anna: User, ben: User
) -> None:
    held = rows_of(project, anna)
    draw_sample.draw_sample(project, rows=24, user=ben, seed=0)
    assert not RowClaim.objects.exists()
    assert {claim.because for claim in queue.take_rows(project, user=anna)} == {"audit"}
    answer(held[-1], anna)  # a page that was open before the draw
    assert Evidence.read(project).answered == []
    assert not draw_sample.pending_draws(project, ben).filter(pk=held[-1]).exists()


def test_who_answers_on_and_on_answers_every_drawn_row(project: Project, anna: User) -> None:
    draw_sample.draw_sample(project, rows=6, user=anna, seed=0)
    shown: list[str] = []
    while claims := queue.take_rows(project, user=anna):
        answer(claims[0].sample_id, anna)
        shown.append(claims[0].because)
    assert len(shown) == 24
    assert shown.count("audit") == 6
    assert "audit" in shown[:4]


# --- Second answers -----------------------------------------------------------------------------------------------


def test_without_double_review_nobody_is_asked_a_second_time(project: Project, anna: User, ben: User) -> None:
    answered = rows_of(project, anna)[0]
    answer(answered, anna)
    assert answered not in rows_of(project, ben, 40)


def test_with_double_review_somebody_else_is_asked_once(project: Project, anna: User, ben: User) -> None:
    project.double_review_percent = 100
    answered = rows_of(project, anna)[0]
    answer(answered, anna)
    claims = queue.take_rows(project, user=ben)
    assert [claim.sample_id for claim in claims if claim.because == "second"] == [answered]
    assert claims[2].sample_id == answered  # among the others, not in front
    assert answered not in rows_of(project, anna)
    label = project.label_list()[1]
    corrections.correct_sample(answered, label_id=label.pk, user=ben, because="second", answer_id=uuid4())
    assert answered not in rows_of(project, make_user("carla"), 40)


def test_about_the_wanted_share_is_answered_twice(anna: User, ben: User) -> None:
    project = make_project(rows=400, owner=anna)
    project.samples.update(source=Source.PERSON, corrected_by=anna, corrected_at=timezone.now())
    project.double_review_percent = 25
    assert 70 <= len(queue.second_rows(project, ben, 400)) <= 130


# --- Answers: repeated, overtaken, taken back ----------------------------------------------------------------------


def test_an_answer_that_is_sent_twice_is_recorded_once(project: Project, anna: User) -> None:
    sample, label, same = project.samples.first(), project.label_list()[0], uuid4()
    assert sample
    for _ in range(2):
        corrections.correct_sample(sample.pk, label_id=label.pk, user=anna, seen_version=0, answer_id=same)
    assert Correction.objects.count() == 1


def test_undo_goes_back_step_by_step_and_keeps_everything_in_the_history(
    project: Project, anna: User
) -> None:
    rows = rows_of(project, anna)[:3]
    before = {row.pk: (row.label_id, row.source, row.risk) for row in project.samples.all()}
    for row in rows:
        answer(row, anna)
    undone = [corrections.undo_answer(project, user=anna, answer_id=uuid4()) for _ in rows]
    assert [row.pk for row in undone if row] == rows[::-1]
    assert corrections.undo_answer(project, user=anna, answer_id=uuid4()) is None
    assert {row.pk: (row.label_id, row.source, row.risk) for row in project.samples.all()} == before
    assert Correction.objects.count() == 6
    assert Correction.objects.standing().count() == 0


def test_an_undo_that_is_sent_twice_takes_back_one_answer(project: Project, anna: User) -> None:
    for row in rows_of(project, anna)[:2]:
        answer(row, anna)
    same = uuid4()
    first = corrections.undo_answer(project, user=anna, answer_id=same)
    again = corrections.undo_answer(project, user=anna, answer_id=same)
    assert first == again
    assert Correction.objects.standing().count() == 1


def test_undo_restores_what_another_person_had_said(project: Project, anna: User, ben: User) -> None:
    row = rows_of(project, anna)[0]
    answer(row, ben, 0)
    answer(row, anna, 1)
    sample = corrections.undo_answer(project, user=anna, answer_id=uuid4())
    assert sample
    assert (sample.label, sample.corrected_by) == (project.label_list()[0], ben)
    assert sample.source == Source.PERSON


def test_undo_passes_over_what_somebody_else_has_corrected_since(
    project: Project, anna: User, ben: User
) -> None:
    first, second = rows_of(project, anna)[:2]
    answer(first, anna)
    answer(second, anna)
    answer(second, ben, 1)
    undone = corrections.undo_answer(project, user=anna, answer_id=uuid4())
    assert undone
    assert undone.pk == first
    assert Sample.objects.get(pk=second).corrected_by == ben


def test_an_answer_to_a_row_that_changed_is_refused_and_not_recorded(
    project: Project, anna: User, ben: User
) -> None:
    row = rows_of(project, anna)[0]
    answer(row, ben)
    with pytest.raises(ConflictError, match="ben has set this row to “positive”"):
        answer(row, anna, 1, seen_version=0)
    assert Correction.objects.count() == 1
