"""Rows that were decided in bulk are measured like those that nobody decided."""

from __future__ import annotations

from importlib import import_module
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.db.models import Count, F
from django.test.utils import CaptureQueriesContext

from annotation.models import (
    Activity,
    AuditDraw,
    Correction,
    CorrectionBatch,
    Label,
    Prediction,
    Project,
    Sample,
    Source,
)
from annotation.models.sample import LlmLabel, Verdict
from annotation.pipeline.export.provenance import quality_lines
from annotation.pipeline.measure import advice, compare_rounds, draw_sample, round_metrics
from annotation.pipeline.measure.accuracy import Evidence
from annotation.pipeline.measure.agreement import rater_agreement
from annotation.pipeline.review import bulk, corrections, queue
from annotation.pipeline.review.bulk import Choice
from mlcore.measure.estimate import Interval
from tests.annotation.pipeline.review.test_bulk import explain
from tests.support.audited import judged_again, run_restore
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


def label_of(project: Project, place: int) -> Label:
    return project.label_list()[place]


def decide(
    project: Project, positions: Any = None, *, label: Label | None = None, **more: Any
) -> CorrectionBatch:
    """Accept or relabel rows at these positions in bulk, or all."""
    chosen = project.samples.all() if positions is None else project.samples.filter(position__in=positions)
    samples = list(chosen.values_list("pk", flat=True))
    return bulk.start_batch(project, Choice(label=label, samples=samples, **more), user=project.owner)


def answer(project: Project, rows: int | None = None) -> None:
    for sample in draw_sample.pending_draws(project, project.owner)[:rows]:
        corrections.correct_sample(
            sample.pk, label_id=sample.reference_id, user=project.owner, because=Correction.Because.AUDIT
        )


def evidence_of(project: Project) -> Evidence:
    """The evidence, whose counts are compared with a count over all rows."""
    evidence = Evidence.read(project)
    unchecked = project.samples.unchecked().order_by().values_list("label").annotate(Count("pk"))
    assert {label: count for label, count in evidence.unchecked_by_label.items() if count} == dict(unchecked)
    in_bulk = project.samples.filter(batch__isnull=False)
    assert evidence.decided_in_bulk == in_bulk.count()
    decided = project.samples.filter(source=Source.PERSON)
    assert len(evidence.checked) == decided.count() - in_bulk.count()
    return evidence


def wrong_rows(project: Project) -> int:
    return project.samples.exclude(label=F("reference")).count()


# --- The draw -----------------------------------------------------------------------------------------------------


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


# --- One answer ---------------------------------------------------------------------------------------------------


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


# --- Before and after a draw --------------------------------------------------------------------------------------


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


# --- What people see ----------------------------------------------------------------------------------------------


def test_flags_are_not_worth_more_for_rows_that_nobody_looked_at(project: Project) -> None:
    decide(project)
    assert [flag.checked for flag in evidence_of(project).flags] == [0, 0, 0]
    draw_sample.draw_sample(project, rows=30, user=None, seed=0)
    answer(project)
    assert sum(flag.checked for flag in evidence_of(project).flags) == 30


def test_rounds_are_compared_on_what_the_models_said_of_rows_decided_in_bulk(project: Project) -> None:
    decide(project)
    draw_sample.draw_sample(project, rows=30, user=None, seed=0)
    answer(project, 29)
    first = project.iterations.get()
    wrong = {
        row.position: 1 - row.position % 2
        for row in project.samples.filter(position__gt=0)
        if row.position % 10
    }
    second = judged_again(project, {place: label_of(project, other).pk for place, other in wrong.items()})
    assert compare_rounds.check_answered_draw(project) is None, "one row waits"
    answer(project)
    comparison = compare_rounds.check_answered_draw(project)
    assert comparison is not None
    assert comparison.is_worse
    assert (comparison.rows, comparison.before, comparison.after) == (30, first, second)
    assert Activity.objects.filter(verb=Activity.Verb.FOUND_WORSE).exists()


def test_a_second_person_is_not_asked_for_rows_that_nobody_looked_at(project: Project) -> None:
    project.double_review_percent = 100
    project.save()
    decide(project, range(30))
    alone = project.samples.get(position=40)
    corrections.correct_sample(alone.pk, label_id=alone.label_id, user=project.owner)
    assert queue.second_rows(project, make_user("second"), 9) == [alone.pk]


def test_the_curve_counts_words_that_stand_and_what_a_changed_one_says_in_the_end(project: Project) -> None:
    def say(place: int, *, is_right: bool) -> None:
        sample = project.samples.get(position=place)
        stood = sample.machine_label or sample.label
        other = next(label for label in project.label_list() if label != stood)
        said = stood if is_right else other
        assert said is not None
        corrections.correct_sample(sample.pk, label_id=said.pk, user=project.owner)

    say(1, is_right=False)
    corrections.undo_answer(project, user=project.owner, answer_id=uuid4())
    say(1, is_right=True)
    say(2, is_right=True)
    assert advice.errors_found(Evidence.read(project))[-1] == (2, 0), "the wrong label was undone"
    say(2, is_right=False)
    assert advice.errors_found(Evidence.read(project))[-1] == (2, 1), "the answer was changed"


def test_the_curve_and_the_forecast_count_errors_decided_in_bulk(
    project: Project,
) -> None:
    decide(project)
    draw_sample.draw_sample(project, rows=40, user=None, seed=0)
    answer(project)
    found = evidence_of(project)
    wrong = sum(map(found.file_was_wrong, found.answered))
    assert advice.errors_found(found)[-1] == (40, wrong)
    forecast = advice.forecast(found, 0.995)
    assert forecast is not None
    assert found.wrong_left is not None
    assert forecast.in_bulk == found.wrong_left.value
    assert forecast.next_errors == 0
    if found.wrong_left.value > 1:
        assert "corrected in bulk" in forecast.sentence


def test_the_workbook_tells_what_is_not_measured(project: Project) -> None:
    draw_sample.draw_sample(project, rows=30, user=None, seed=0)
    answer(project)
    decide(project, label=label_of(project, 0))
    told = {str(line[0]): line[1:] for line in quality_lines(project) if line}
    assert told["rows corrected in bulk, measured like uncorrected rows"] == [30]
    [count] = [
        value
        for name, [*value] in told.items()
        if name.startswith("of these, rows whose label has no sampled row")
    ]
    assert count == [evidence_of(project).unmeasured]


def test_the_pages_say_that_labels_from_after_the_answers_are_not_measured(
    project: Project, client: Any
) -> None:
    client.force_login(project.owner)
    url = f"/projects/{project.pk}/accuracy/"
    draw_sample.draw_sample(project, rows=30, user=None, seed=0)
    answer(project)
    decide(project, range(30))
    assert "are not measured" not in client.get(url).content.decode()
    decide(project, label=label_of(project, 0))
    for headers in ({}, {"hx-request": "true", "hx-target": "measured"}):
        page = client.get(url, headers=headers).content.decode()
        assert "rows were corrected in bulk. Perhaps nobody looked at each" in page
        assert "of them are not measured: no sampled row has their labels." in page


def test_the_table_shows_the_rows_that_were_decided_in_bulk(project: Project, client: Any) -> None:
    client.force_login(project.owner)
    decide(project, [3, 5])
    page = client.get(f"/projects/{project.pk}/review/?show=bulk&sort=position").content.decode()
    assert page.count('class="pick"') == 2


def test_queries_do_not_grow_with_rows_decided_in_bulk(
    project: Project, django_assert_max_num_queries: Any
) -> None:
    draw_sample.draw_sample(project, rows=30, user=None, seed=0)
    answer(project)
    for start in range(0, ROWS, 10):
        decide(project, range(start, start + 10), label=label_of(project, 0), include_corrected=True)
    with django_assert_max_num_queries(16):
        evidence = Evidence.read(project)
        assert all((evidence.accuracy, evidence.classes, evidence.flags, rater_agreement(evidence)))
        assert advice.forecast(evidence)


def test_no_query_of_the_evidence_walks_over_all_corrections_or_rows(project: Project) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("reads SQLite's plans")
    draw_sample.draw_sample(project, rows=30, user=None, seed=0)
    answer(project)
    decide(project)
    with CaptureQueriesContext(connection) as queries:
        evidence = Evidence.read(project)
        assert all((evidence.accuracy, evidence.classes, evidence.flags))
        advice.errors_found(evidence)
    steps = [step for query in queries.captured_queries for step in explain(query["sql"])]
    for table, narrow in {
        "annotation_sample": ("sample_checked_alone", "sample_in_bulk", "rowid=?"),
        "annotation_correction": ("sample_id=?", "correction_latest", "T", "undoes_id=?) LEFT-JOIN"),
    }.items():
        for step in steps:
            if f"{table} " in step:
                assert any(each in step for each in narrow), step


# --- The row's own record -----------------------------------------------------------------------------------------


def test_a_row_knows_what_the_models_say_whatever_they_say_later(project: Project) -> None:
    decide(project)
    row = project.samples.get(position=1)
    other = label_of(project, 0)
    assert (row.label, row.machine_label) == (label_of(project, 1), label_of(project, 1))
    verdict = Verdict(row.pk, other.pk, Source.SLM, 0.4, other.pk, 0.6, 0.3, 1, "wrong", 1)
    Sample.objects.write_verdicts([verdict], round_number=2)
    Sample.objects.write_llm_labels([LlmLabel(row.pk, label_of(project, 1).pk, 0.9)], round_number=3)
    row.refresh_from_db()
    assert (row.label, row.machine_label) == (label_of(project, 1), other)


def test_before_any_small_model_the_models_label_is_the_llms(project: Project) -> None:
    row = project.samples.get(position=1)
    Sample.objects.filter(pk=row.pk).update(slm_label=None, risk=None, source=Source.LLM)
    decide(project, [1])
    Sample.objects.write_llm_labels([LlmLabel(row.pk, label_of(project, 0).pk, 0.9)], round_number=2)
    row.refresh_from_db()
    assert (row.label, row.machine_label) == (label_of(project, 1), label_of(project, 0))


def test_rows_decided_in_bulk_before_this_was_kept_on_the_row_are_found(project: Project) -> None:
    undone = decide(project, range(10), label=label_of(project, 0))
    bulk.undo_batch(undone, user=project.owner)
    decide(project, range(5, 30))
    decide(project, range(20, 25), label=label_of(project, 1), include_corrected=True)
    for position in (7, 40):
        row = project.samples.get(position=position)
        corrections.correct_sample(row.pk, label_id=label_of(project, 0).pk, user=project.owner)
    row = project.samples.get(position=8)
    with transaction.atomic():
        said = corrections.correct_sample(row.pk, label_id=label_of(project, 1).pk, user=project.owner)
        corrections.take_back(said, said.corrections.latest("pk"), user=project.owner)
    decided = project.samples.filter(source=Source.PERSON).order_by("pk")
    kept = list(decided.values_list("pk", "batch", "machine_label"))
    project.samples.update(batch=None, machine_label=None)
    with connection.cursor() as cursor:
        cursor.execute(import_module("annotation.migrations.0016_find_decided_in_bulk").FIND)
    assert list(decided.values_list("pk", "batch", "machine_label")) == kept
    assert len({batch for _row, batch, _label in kept}) == 3
    assert not project.samples.exclude(source=Source.PERSON).filter(batch__isnull=False).exists()
