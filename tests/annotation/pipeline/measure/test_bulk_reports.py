"""What people see of rows that were decided in bulk, and what a row keeps of it."""

from __future__ import annotations

from importlib import import_module
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from annotation.models import (
    Activity,
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
from tests.annotation.pipeline.review.test_bulk import explain
from tests.support.audited import judged_again
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


# --- What people see --------------------------------------------------------------------------------------------------


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


# --- The row's own record ---------------------------------------------------------------------------------------------


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
