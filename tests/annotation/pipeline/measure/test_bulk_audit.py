"""Rows that were decided in bulk are measured like those that nobody decided."""

from __future__ import annotations

import pytest
from django.db import transaction
from django.db.models import Count, F

from annotation.models import (
    AuditDraw,
    Correction,
    Prediction,
    Project,
    Sample,
    Source,
)
from annotation.pipeline.measure import draw_sample, round_metrics
from annotation.pipeline.review import bulk, corrections, queue
from mlcore.measure.estimate import Interval
from tests.support.audited import judged_again, run_restore
from tests.support.decided_in_bulk import answer, decide, evidence_of, label_of
from tests.support.factories import make_project, make_user
from tests.support.pages import judge_rows

pytestmark = pytest.mark.django_db

ROWS = 60


@pytest.fixture
def project() -> Project:
    """Sixty judged rows, of which every tenth label is wrong."""
    project = make_project(rows=ROWS)
    judge_rows(project)
    for position in range(0, ROWS, 10):
        other = label_of(project, 1 - position % 2)
        rows = Prediction.objects.filter(sample__project=project, sample__position=position, source="slm")
        rows.update(verdict=other)
        project.samples.filter(position=position).update(label=other)
    round_metrics.record_metrics(project.iterations.get())
    return project


def wrong_rows(project: Project) -> int:
    return project.samples.exclude(label=F("reference")).count()


# --- The draw ---------------------------------------------------------------------------------------------------------


def test_accepted_and_relabelled_rows_are_drawn_in_strata_of_their_own(project: Project) -> None:
    decide(project, range(1, 21))
    decide(project, range(40, 60, 2), label=label_of(project, 1))
    draw_sample.draw_sample(project, rows=40, user=None, seed=0)
    sizes = dict(AuditDraw.objects.values_list("stratum", "stratum_rows"))
    others = sum(count for name, count in sizes.items() if not name.startswith("in bulk"))
    same = project.samples.filter(position__in=range(40, 60, 2), label=F("machine_label")).count()
    assert (sizes["in bulk, accepted"], sizes["in bulk, relabelled"]) == (20 + same, 10 - same)
    assert others == ROWS - 30
    assert sum(draw.weight for draw in AuditDraw.objects.all()) == pytest.approx(ROWS)


def test_rows_that_were_all_accepted_at_once_are_measured_and_not_taken_as_right(project: Project) -> None:
    decide(project)
    draw_sample.draw_sample(project, rows=ROWS, user=None, seed=0)
    answer(project, 40)
    evidence = evidence_of(project)
    left, accuracy = evidence.wrong_left, evidence.accuracy
    assert left is not None
    assert accuracy is not None
    assert left.low <= wrong_rows(project) <= left.high
    answer(project)
    evidence = evidence_of(project)
    assert evidence.accuracy == Interval(1.0, 1.0, 1.0)
    assert wrong_rows(project) == 0


def test_who_decided_in_bulk_is_asked_blind_but_not_who_looked_at_the_row_alone(project: Project) -> None:
    decide(project)
    draw_sample.draw_sample(project, rows=10, user=None, seed=0)
    assert draw_sample.pending_draws(project, project.owner).count() == 10
    claims = queue.take_rows(project, user=project.owner)
    assert {claim.because for claim in claims} == {Correction.Because.AUDIT}


def test_a_drawn_row_stays_to_be_answered_when_it_is_decided_in_bulk(project: Project) -> None:
    draw_sample.draw_sample(project, rows=20, user=None, seed=0)
    drawn = set(draw_sample.pending_draws(project, project.owner).values_list("pk", flat=True))
    decide(project)
    assert set(draw_sample.pending_draws(project, project.owner).values_list("pk", flat=True)) == drawn
    answer(project)
    evidence = evidence_of(project)
    assert (len(evidence.answered), evidence.pending) == (20, 0)


def test_a_new_draw_keeps_answers_whose_rows_were_overruled_in_bulk(project: Project) -> None:
    draw_sample.draw_sample(project, rows=20, user=None, seed=0)
    answer(project)
    decide(project, label=label_of(project, 0), include_corrected=True)
    evidence = evidence_of(project)
    overruled = project.samples.filter(audit_draws__draw_number=1, batch__isnull=False)
    assert len(evidence.overruled) == overruled.count() > 5
    assert (len(evidence.answered), evidence.pending) == (20, 0)
    assert not draw_sample.pending_draws(project, make_user("other")).exists()
    assert all(map(evidence.file_was_wrong, evidence.overruled)), (
        "each had another label when it was answered"
    )
    draw_sample.draw_sample(project, rows=20, user=None, seed=0)
    assert AuditDraw.objects.filter(draw_number=1).count() == 20


# --- One answer -------------------------------------------------------------------------------------------------------


def test_a_blind_answer_on_such_a_row_is_an_ordinary_correction_and_can_be_undone(project: Project) -> None:
    batch = decide(project)
    draw_sample.draw_sample(project, rows=10, user=None, seed=0)
    row = draw_sample.pending_draws(project, project.owner)[0]
    other = next(label for label in project.label_list() if label != row.label)
    said = corrections.correct_sample(row.pk, label_id=other.pk, user=project.owner, because="audit")
    assert (said.batch, said.label, said.source) == (None, other, Source.PERSON)
    evidence = evidence_of(project)
    [checked] = evidence.answered
    assert evidence.file_label(checked) == row.label_id
    assert evidence.file_was_wrong(checked)
    with transaction.atomic():
        corrections.take_back(said, Correction.objects.get(because="audit"), user=project.owner)
    said.refresh_from_db()
    assert (said.batch, said.label_id, said.source) == (batch, row.label_id, Source.PERSON)
    assert evidence_of(project).pending == 10


def test_an_answer_counts_for_the_models_label_again_when_the_bulk_is_taken_back(project: Project) -> None:
    batch = decide(project, label=label_of(project, 0))
    draw_sample.draw_sample(project, rows=30, user=None, seed=0)
    answer(project, 20)
    in_bulk = evidence_of(project)
    assert sum(map(in_bulk.file_was_wrong, in_bulk.answered)) > 5
    bulk.undo_batch(batch, user=project.owner)
    evidence = evidence_of(project)
    assert evidence.decided_in_bulk == 0
    assert project.samples.filter(source=Source.PERSON).count() == 20 == len(evidence.answered)
    assert [evidence.file_was_wrong(row) for row in evidence.answered] == [
        evidence.model_was_wrong(evidence.current, row) for row in evidence.answered
    ]
    assert evidence.pending == 10


def test_a_second_bulk_over_the_first_is_the_one_that_stands(project: Project) -> None:
    first = decide(project, range(20))
    second = decide(project, range(10), label=label_of(project, 0), include_corrected=True)
    counts = dict(
        project.samples.filter(batch__isnull=False).values_list("batch").annotate(Count("pk")).order_by()
    )
    assert counts == {first.pk: ROWS // 3 - second.corrections.count(), second.pk: second.corrections.count()}
    models = project.samples.filter(position__lt=20, predictions__source="slm")
    assert all(row.machine_label_id == row.predictions.get(source="slm").verdict_id for row in models), (
        "what the models say, not the first bulk"
    )
    bulk.undo_batch(second, user=project.owner)
    assert set(project.samples.filter(position__lt=20).values_list("batch", flat=True)) == {first.pk}


def test_a_row_mended_alone_after_a_bulk_is_taken_off_once(project: Project) -> None:
    """All rows are checked but those that a person mends in the table; so the estimate must be exact."""
    decide(project, range(0, ROWS, 2))
    draw_sample.draw_sample(project, rows=ROWS, user=None, seed=0)
    wrong = project.samples.exclude(label=F("reference")).order_by("position")[0]
    corrections.correct_sample(wrong.pk, label_id=wrong.reference_id, user=project.owner)
    answer(project)
    evidence = evidence_of(project)
    assert evidence.wrong_left is not None
    assert evidence.wrong_left.value == 0 == evidence.unchecked_rows


# --- Before and after a draw ------------------------------------------------------------------------------------------


def test_accepting_after_a_draw_changes_neither_the_file_nor_its_measured_accuracy(project: Project) -> None:
    draw_sample.draw_sample(project, rows=30, user=None, seed=0)
    answer(project)
    before = evidence_of(project)
    decide(project)
    after = evidence_of(project)
    assert (after.accuracy, after.wrong_left) == (before.accuracy, before.wrong_left)
    assert (after.unmeasured, after.decided_in_bulk) == (0, 30)
    assert after.classes[1] == before.classes[1]


def test_the_interval_allows_for_labels_given_after_a_draw(
    project: Project,
) -> None:
    draw_sample.draw_sample(project, rows=30, user=None, seed=0)
    answer(project)
    before = evidence_of(project).wrong_left
    decide(project, label=label_of(project, 0))
    evidence = evidence_of(project)
    relabelled = project.samples.filter(batch__isnull=False).exclude(label=F("machine_label")).count()
    assert evidence.unmeasured == relabelled > 10
    left = evidence.wrong_left
    assert left is not None
    assert before is not None
    assert left.value == before.value
    assert left.low == 0
    assert left.high == min(before.high + relabelled, 30)
    assert left.low <= wrong_rows(project) <= left.high
    draw_sample.draw_sample(project, rows=30, user=None, seed=0)
    answer(project, 20)
    evidence = evidence_of(project)
    assert evidence.unmeasured == 0


def test_a_later_draw_measures_accepted_labels_that_a_round_contradicts(
    project: Project,
) -> None:
    draw_sample.draw_sample(project, rows=30, user=None, seed=0)
    answer(project)
    decide(project)
    kept = dict(project.samples.filter(batch__isnull=False).values_list("pk", "label_id"))
    first, last = project.label_list()
    some = project.samples.select_related("label").filter(pk__in=kept)[:7]
    turned = {row.position: (last if row.label == first else first).pk for row in some}
    second = judged_again(project, turned)
    verdicts = [said.as_verdict(said.sample.llm_label_id) for said in second.predictions.filter(source="slm")]
    Sample.objects.write_verdicts(verdicts, round_number=2)
    assert dict(project.samples.filter(pk__in=kept).values_list("pk", "label_id")) == kept
    contradicted = project.samples.filter(pk__in=kept).exclude(label=F("machine_label")).count()
    assert evidence_of(project).unmeasured == contradicted == 7
    run_restore(project.iterations.get(number=1))
    assert evidence_of(project).unmeasured == 0
    assert dict(project.samples.filter(pk__in=kept).values_list("pk", "label_id")) == kept


def test_rows_that_an_older_draw_could_not_hold_are_not_measured(project: Project) -> None:
    """Draws from before rows decided in bulk were drawn."""
    decide(project, range(30))
    draw_sample.draw_sample(project, rows=40, user=None, seed=0)
    AuditDraw.objects.filter(stratum__startswith="in bulk").delete()
    AuditDraw.objects.update(covers_bulk=False, frame_rows=30)
    answer(project)
    evidence = evidence_of(project)
    assert evidence.unmeasured == 30
    assert evidence.wrong_left is not None
    assert evidence.wrong_left.high >= 30
    whole = evidence.round_accuracy(project.iterations.get())
    assert whole is not None
    assert whole.high - whole.low >= 0.4


def test_the_interval_allows_for_a_bulk_without_answered_rows(
    project: Project,
) -> None:
    decide(project, range(30))
    draw_sample.draw_sample(project, rows=40, user=None, seed=0)
    others = draw_sample.pending_draws(project, project.owner).filter(batch__isnull=True)
    for sample in others:
        corrections.correct_sample(
            sample.pk, label_id=sample.reference_id, user=project.owner, because="audit"
        )
    left = evidence_of(project).wrong_left
    assert left is not None
    assert left.high >= 30
    answer(project)
    left = evidence_of(project).wrong_left
    assert left is not None
    assert left.high < 12
