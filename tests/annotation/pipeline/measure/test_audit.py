"""The audit: what is measured from rows that were drawn at random and answered blind."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from django.db import transaction
from django.db.models import F

from annotation.models import (
    AuditDraw,
    Correction,
    Project,
    Sample,
    Source,
)
from annotation.pipeline.export.provenance import quality_lines
from annotation.pipeline.measure import advice, draw_sample, round_metrics
from annotation.pipeline.measure.accuracy import Evidence
from annotation.pipeline.measure.agreement import blind_ratings, rater_agreement
from annotation.pipeline.review import corrections
from mlcore.measure.answer_times import share_answered_by, share_left
from tests.support.audited import answer_all, answer_half, wrong_label
from tests.support.factories import make_project, make_user
from tests.support.pages import judge_rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    project = make_project(rows=60)
    judge_rows(project)
    return project


@pytest.fixture
def measured(project: Project) -> Project:
    answer_half(project)
    return project


def test_the_interval_holds_the_true_number_of_wrong_rows_left(measured: Project) -> None:
    evidence = Evidence.read(measured)
    left = measured.samples.exclude(label=F("reference")).count()
    interval, accuracy = evidence.wrong_left, evidence.accuracy
    assert interval is not None
    assert accuracy is not None
    assert evidence.open_rows == 30
    assert interval.low <= left <= interval.high
    assert accuracy.value == pytest.approx(1 - interval.value / 60)


def test_errors_that_people_mend_afterwards_are_taken_off_exactly(measured: Project) -> None:
    before = Evidence.read(measured).wrong_left
    wrong = measured.samples.exclude(label=F("reference")).first()
    assert wrong is not None
    corrections.correct_sample(wrong.pk, label_id=wrong.reference_id, user=measured.owner)
    after = Evidence.read(measured).wrong_left
    assert before is not None
    assert after is not None
    assert after.value == pytest.approx(max(before.value - 1, 0))


def correct_table(project: Project, row: Sample) -> None:
    corrections.correct_sample(row.pk, label_id=row.reference_id, user=project.owner)


def test_a_drawn_row_that_was_decided_otherwise_is_no_answer_and_not_taken_off_twice(
    project: Project,
) -> None:
    """All sixty labels are wrong; somebody mends every other row in the table, then the rest is answered."""
    for sample in project.samples.all():
        other = wrong_label(project, sample.position)
        sample.predictions.filter(source="slm").update(verdict=other)
        project.samples.filter(pk=sample.pk).update(label=other, reference=sample.label_id)
    round_metrics.record_metrics(project.iterations.get())
    draw_sample.draw_sample(project, rows=40, user=project.owner, seed=0)
    drawn = list(draw_sample.pending_draws(project, project.owner))
    for row in project.samples.order_by("position")[::2]:
        correct_table(project, row)
    waiting = {row.pk for row in drawn if row.position % 2}
    assert Evidence.read(project).answered == []
    assert (
        Evidence.read(project).pending
        == draw_sample.pending_draws(project, project.owner).count()
        == len(waiting)
    )
    answer_all(project)
    evidence = Evidence.read(project)
    assert {row.sample_id for row in evidence.answered} == waiting
    assert evidence.pending == 0
    stand_for = sum(draw.weight for draw in AuditDraw.objects.filter(sample__in=waiting))
    left, whole = evidence.wrong_left, evidence.round_accuracy(project.iterations.get())
    assert left is not None
    assert whole is not None
    rounding = 4  # half a row in each stratum
    assert left.value == pytest.approx(min(stand_for - len(waiting), evidence.open_rows), abs=rounding)
    assert left.value > 0  # by taking the mended off twice: none
    assert whole.value == pytest.approx(1 - min(30 + stand_for, 60) / 60, abs=rounding / 60)


def test_a_blind_answer_that_is_corrected_later_stays_the_samples_answer(measured: Project) -> None:
    before = Evidence.read(measured)
    row = measured.samples.filter(
        source=Source.PERSON, label=F("reference"), predictions__source="slm"
    ).first()
    assert row is not None
    other = wrong_label(measured, row.position)
    corrections.correct_sample(row.pk, label_id=other, user=make_user("later"))
    after = Evidence.read(measured)
    assert len(after.answered) == len(before.answered) == 30
    assert after.wrong_left == before.wrong_left
    answer = next(answer for answer in after.answered if answer.sample_id == row.pk)
    assert (answer.true_label_id, answer.label_id) == (row.reference_id, other)


def test_a_blind_answer_that_is_undone_is_none(measured: Project) -> None:
    said = Correction.objects.first()
    assert said is not None
    with transaction.atomic():
        corrections.take_back(said.sample, said, user=measured.owner)
    evidence = Evidence.read(measured)
    assert (len(evidence.answered), evidence.pending) == (29, 1)


def test_only_standing_blind_answers_agree_or_disagree(measured: Project) -> None:
    rows = list(measured.samples.filter(source=Source.PERSON))
    ben, carla, dora = make_user("ben"), make_user("carla"), make_user("dora")
    for row in rows:
        wrong = wrong_label(measured, row.position)
        corrections.correct_sample(row.pk, label_id=wrong, user=carla)  # in the table
        corrections.correct_sample(row.pk, label_id=wrong, user=dora, because="second")
        with transaction.atomic():
            row.refresh_from_db()
            corrections.take_back(row, Correction.objects.get(sample=row, user=dora), user=dora)
        corrections.correct_sample(row.pk, label_id=row.reference_id, user=ben, because="second")
    names, lines = blind_ratings(Evidence.read(measured))
    assert names == [measured.owner.username, "ben", "LLM", "SLM"]
    assert (lines[0] == lines[1]).all()


def test_the_share_of_answers_depends_on_when_rows_were_decided() -> None:
    early, late, later = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3))
    assert share_left(10, [late] * 8, [early] * 2) == pytest.approx(0.8)
    assert share_left(10, [early] * 8, [late] * 2) == 1
    assert share_left(10, [early] * 5 + [later] * 4, [late]) == pytest.approx((5 + 4 * 0.8) / 9)
    assert share_answered_by(late, [early, early, later, later]) == 0.5


@pytest.mark.parametrize("answered_first", [0, 60, 120])
def test_mending_drawn_rows_in_the_table_hardly_biases_the_estimate(answered_first: int) -> None:
    """Simulated: half of the wrong rows are mended after so many of 120 draws were answered."""
    rng, found, truth = np.random.default_rng(answered_first), [], []
    start, bulk, end = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3))
    for _audit in range(400):
        wrong = rng.random(1_000) < 0.2
        drawn = rng.permutation(1_000)[:120]
        first = drawn[:answered_first]
        mended = wrong & (rng.random(1_000) < 0.5)
        mended[first] = False
        lost = int(mended[drawn].sum())
        answered = np.array([row for row in drawn if not mended[row]])
        times = [start] * len(first) + [end] * (len(answered) - len(first))
        frame = 1_000 * share_left(120, times, [bulk] * lost)
        counted = mended.sum() * share_answered_by(bulk, times) + wrong[answered].sum()
        found.append(frame * wrong[answered].mean() - counted)
        truth.append((wrong & ~mended).sum() - wrong[answered].sum())
    assert np.mean(found) == pytest.approx(np.mean(truth), abs=6)  # of 1,000 rows


def test_the_stored_counts_and_a_count_over_all_rows_agree(measured: Project) -> None:
    quick = Evidence.read(measured).open_by_label
    measured.iterations.update(metrics={})
    slow = Evidence.read(measured).open_by_label
    assert {label: count for label, count in quick.items() if count} == slow


def test_queries_do_not_grow_with_the_rows(measured: Project, django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(12):
        evidence = Evidence.read(measured)
        assert all((evidence.accuracy, evidence.classes, evidence.flags, rater_agreement(evidence)))
        assert advice.forecast(evidence)


def test_a_flag_is_worth_what_people_found_under_it(measured: Project) -> None:
    for found in Evidence.read(measured).flags:
        rows = measured.samples.filter(
            source=Source.PERSON, predictions__flag=found.flag, predictions__source="slm"
        )
        assert found.checked == rows.count() == found.drawn
        assert found.wrong == sum(row.position % 10 == 0 for row in rows)


def test_the_workbook_tells_the_measured_accuracy_or_that_it_is_unknown(measured: Project) -> None:
    told = {line[0]: line[1:] for line in quality_lines(measured) if line}
    accuracy = Evidence.read(measured).accuracy
    assert accuracy is not None
    assert told["accuracy of this file"] == pytest.approx(
        [accuracy.value, accuracy.low, accuracy.high], abs=1e-6
    )
    assert told["labelled rows of the random sample"] == [30]
    assert len(told["precision of positive"]) == 3

    AuditDraw.objects.all().delete()
    words = " ".join(str(line[0]) for line in quality_lines(measured) if line)
    assert "Unknown: at least 10 labelled rows of the random sample are needed; there are 0." in words
