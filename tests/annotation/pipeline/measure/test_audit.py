"""The audit: rows drawn at random to measure the file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from django.db import transaction
from django.db.models import F
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotation.errors import AnnotationError, NotReadyError
from annotation.jobs import kinds
from annotation.jobs.work import work_on
from annotation.models import (
    Activity,
    AuditDraw,
    Correction,
    Iteration,
    Prediction,
    Project,
    Sample,
    Source,
    Stage,
)
from annotation.pipeline.export.provenance import quality_lines
from annotation.pipeline.iterate import restore_round
from annotation.pipeline.measure import advice, compare_rounds, draw_sample, round_metrics
from annotation.pipeline.measure.accuracy import Evidence
from annotation.pipeline.measure.agreement import blind_ratings, rater_agreement
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
from annotation.pipeline.review import corrections
from mlcore.measure.answer_times import share_answered_by, share_left
from tests.support.factories import make_project, make_user
from tests.support.pages import judge_rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    project = make_project(rows=60)
    judge_rows(project)
    return project


def answer_all(project: Project) -> None:
    for sample in draw_sample.pending_draws(project, project.owner):
        corrections.correct_sample(
            sample.pk, label_id=sample.reference_id, user=project.owner, because=Correction.Because.AUDIT
        )


def test_drawn_rows_wait_until_they_are_answered(project: Project) -> None:
    assert draw_sample.draw_sample(project, rows=20, user=project.owner) == 20
    assert draw_sample.pending_draws(project, project.owner).count() == 20
    answer_all(project)
    assert not draw_sample.pending_draws(project, project.owner).exists()
    assert project.samples.filter(source=Source.PERSON).count() == 20


def test_a_blind_answer_that_agrees_with_the_models_is_on_record_too(project: Project) -> None:
    draw_sample.draw_sample(project, rows=60, user=project.owner)
    sample = draw_sample.pending_draws(project, project.owner)[0]
    corrections.correct_sample(
        sample.pk, label_id=sample.label_id, user=project.owner, because=Correction.Because.AUDIT
    )
    stored = Correction.objects.get()
    assert (stored.because, stored.label_id) == (Correction.Because.AUDIT, stored.replaced_label_id)


def test_weights_add_up_to_the_rows_that_were_open(project: Project) -> None:
    decided = project.samples.get(position=3)
    corrections.correct_sample(decided.pk, label_id=decided.label_id, user=project.owner)
    draw_sample.draw_sample(project, rows=25, user=project.owner)
    draws = AuditDraw.objects.filter(project=project)
    assert sum(draw.weight for draw in draws) == pytest.approx(59)
    assert not draws.filter(sample=decided).exists()


def test_a_new_draw_replaces_the_rows_that_nobody_answered(project: Project) -> None:
    draw_sample.draw_sample(project, rows=10, user=project.owner)
    first = draw_sample.pending_draws(project, project.owner)[0]
    corrections.correct_sample(
        first.pk, label_id=first.reference_id, user=project.owner, because=Correction.Because.AUDIT
    )
    draw_sample.draw_sample(project, rows=15, user=project.owner)
    assert draw_sample.pending_draws(project, project.owner).count() == 15
    assert AuditDraw.objects.get(sample=first).draw_number == 1
    assert set(AuditDraw.objects.exclude(sample=first).values_list("draw_number", flat=True)) == {2}


def test_a_drawn_row_that_somebody_decides_while_browsing_is_not_asked_for_again(project: Project) -> None:
    draw_sample.draw_sample(project, rows=10, user=project.owner)
    found = draw_sample.pending_draws(project, project.owner)[0]
    corrections.correct_sample(found.pk, label_id=found.label_id, user=make_user("browser"))
    assert not draw_sample.pending_draws(project, project.owner).filter(pk=found.pk).exists()


def test_who_withdrew_a_word_on_a_row_is_not_asked_blind_but_others_are(project: Project) -> None:
    draw_sample.draw_sample(project, rows=10, user=project.owner)
    found = draw_sample.pending_draws(project, project.owner)[0]
    corrections.correct_sample(found.pk, label_id=found.label_id, user=project.owner)
    corrections.correct_sample(found.pk, label_id=None, user=project.owner)
    assert not draw_sample.pending_draws(project, project.owner).filter(pk=found.pk).exists()
    assert draw_sample.pending_draws(project, make_user("other")).filter(pk=found.pk).exists()


def test_a_draw_asks_for_a_possible_number_and_for_labelled_rows(project: Project) -> None:
    with pytest.raises(AnnotationError, match="1 to 5000 rows, not 0"):
        draw_sample.draw_sample(project, rows=0, user=project.owner)
    with pytest.raises(NotReadyError, match="no row has a label"):
        draw_sample.draw_sample(make_project(owner=make_user("new")), rows=10, user=None)


def test_a_draw_makes_sure_of_a_few_rows_of_a_scarce_label_until_they_are_answered(project: Project) -> None:
    names = [label.name for label in project.label_list()]
    configure.set_labels(project, [LabelDraft(name) for name in [*names, "mixed"]])
    mixed = project.labels.get(name="mixed")
    project.samples.filter(position__lt=6).update(label=mixed)
    Prediction.objects.filter(sample__project=project, sample__position__lt=6).update(verdict=mixed)
    draw_sample.draw_sample(project, rows=20, user=None)
    drawn = AuditDraw.objects.filter(sample__label=mixed)
    assert drawn.count() == 5
    assert sum(draw.weight for draw in drawn) == pytest.approx(6)
    assert sum(draw.weight for draw in AuditDraw.objects.all()) == pytest.approx(60)
    answer_all(project)
    draw_sample.draw_sample(project, rows=20, user=None)
    assert not AuditDraw.objects.filter(draw_number=2, stratum__startswith="label").exists()


def test_rows_that_people_decide_while_a_draw_is_made_are_not_answers_of_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in the table; one as a member of the draw before."""
    draw_sample.draw_sample(project, rows=30, user=None)
    answered = draw_sample.pending_draws(project, project.owner)[0]
    choose, decided = draw_sample.choose_rows, []

    def choose_slowly(*arguments: Any, **options: Any) -> list[AuditDraw]:
        chosen = choose(*arguments, **options)
        undrawn = [each for each in chosen if not AuditDraw.objects.filter(sample=each.sample_id).exists()]
        decided.append(undrawn[0].sample_id)
        corrections.correct_sample(decided[0], label_id=project.label_list()[0].pk, user=project.owner)
        corrections.correct_sample(
            answered.pk, label_id=answered.label_id, user=project.owner, because=Correction.Because.AUDIT
        )
        return chosen

    monkeypatch.setattr(draw_sample, "choose_rows", choose_slowly)
    assert draw_sample.draw_sample(project, rows=60, user=None) == 59
    assert AuditDraw.objects.get(sample=answered).draw_number == 1
    assert AuditDraw.objects.get(sample=decided[0]).draw_number == 2
    evidence = Evidence.read(project)
    assert [row.sample_id for row in evidence.answered] == [answered.pk]
    assert draw_sample.pending_draws(project, make_user("other")).count() == 58
    assert not draw_sample.pending_draws(project, make_user("another")).filter(pk=decided[0]).exists()


# --- What is measured ----------------------------------------------------------------------------------------------


def judged_again(project: Project, verdicts: dict[int, int]) -> Iteration:
    """A second round whose models say the same as the first but for some positions."""
    first = project.iterations.get()
    second = Iteration.objects.create(
        project=project,
        number=2,
        started_from="slm",
        labels=first.labels,
        prompt={},
        llm_settings={},
        slm_settings={},
    )
    for said in first.predictions.filter(source="slm").select_related("sample"):
        label_id = verdicts.get(said.sample.position, said.verdict_id)
        said.pk, said.iteration, said.verdict_id, said.label_id = None, second, label_id, label_id
        said.save()
    Stage.objects.create(project=project, iteration=second, kind=kinds.SLM.key, status=Stage.Status.DONE)
    for sample in project.samples.all():
        if sample.source != Source.PERSON:
            sample.label_id = second.predictions.get(sample=sample).verdict_id
            sample.source, sample.round = Source.SLM, 2
            sample.save()
    round_metrics.record_metrics(second)
    return second


def wrong_label(project: Project, position: int) -> int:
    return project.label_list()[1 - position % 2].pk


@pytest.fixture
def measured(project: Project) -> Project:
    """Six of sixty labels are wrong, and thirty random rows are answered."""
    for position in range(0, 60, 10):
        rows = Prediction.objects.filter(sample__project=project, sample__position=position, source="slm")
        rows.update(verdict=wrong_label(project, position))
        project.samples.filter(position=position).update(label=wrong_label(project, position))
    round_metrics.record_metrics(project.iterations.get())
    draw_sample.draw_sample(project, rows=30, user=project.owner)
    answer_all(project)
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
    draw_sample.draw_sample(project, rows=40, user=project.owner)
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


def test_a_round_that_is_worse_beyond_chance_is_marked_and_a_better_one_is_not(measured: Project) -> None:
    first = measured.iterations.get()
    drawn = [row.sample_id for row in Evidence.read(measured).checked]
    spoiled = measured.samples.filter(pk__in=drawn).exclude(position__in=range(0, 60, 10))[:9]
    second = judged_again(measured, {row.position: wrong_label(measured, row.position) for row in spoiled})
    comparison = compare_rounds.compare(Evidence.read(measured), first, second)
    assert (comparison.better, comparison.worse) == (0, 9)
    assert comparison.is_worse
    assert not compare_rounds.compare(Evidence.read(measured), second, first).is_worse
    compare_rounds.check_round(second)
    compare_rounds.check_round(second)  # as a stage does that runs once more after a crash
    found = Activity.objects.get(verb=Activity.Verb.FOUND_WORSE)
    assert found.what == "round 2: of 30 audited rows 0 became right and 9 wrong since round 1"


def test_rows_that_a_round_learned_from_are_told_from_those_drawn_after_it(
    measured: Project, client: Client
) -> None:
    def page() -> str:
        client.force_login(measured.owner)
        return client.get(reverse("annotation:accuracy", args=[measured.pk])).content.decode()

    assert Evidence.read(measured).learned == 0
    assert "were checked before this round" not in page()
    judged_again(measured, {})
    draw_sample.draw_sample(measured, rows=10, user=measured.owner)
    answer_all(measured)
    evidence = Evidence.read(measured)
    assert (evidence.learned, len(evidence.answered)) == (30, 40)
    assert "30 of the random rows were checked before this round" in page()
    told = {line[0]: line[1:] for line in quality_lines(measured) if line}
    assert told["random rows that were checked before the round, which it learned from"] == [30]


def test_rows_checked_before_the_training_count_as_learned(
    project: Project,
) -> None:
    draw_sample.draw_sample(project, rows=20, user=project.owner)
    round_two = judged_again(project, {})
    answer_all(project)
    assert Evidence.read(project).learned == 0, "as far as can be told without the time of the training"
    training = round_two.stage(kinds.SLM.key) or Stage(
        project=project, iteration=round_two, kind=kinds.SLM.key
    )
    training.detail = {"read_at": timezone.now().isoformat()}
    training.save()
    assert Evidence.read(project).learned == 20


def test_a_label_that_vanishes_is_told_without_any_audited_row(project: Project) -> None:
    first, names = project.iterations.get(), project.label_list()
    round_metrics.record_metrics(first)
    second = judged_again(project, dict.fromkeys(range(60), names[0].pk))
    comparison = compare_rounds.compare(Evidence.read(project), Iteration.objects.get(pk=first.pk), second)
    assert comparison.lost_labels == [names[1].name]
    assert comparison.is_worse
    assert comparison.rows == 0


def run_restore(iteration: Iteration) -> None:
    stage = restore_round.start_restore(iteration, user=iteration.project.owner)
    with work_on(stage.pk) as job:
        assert job is not None
        restore_round.run_restore(job)
    stage.refresh_from_db()
    assert stage.status == Stage.Status.DONE, stage.error


def test_going_back_restores_the_models_labels_only(
    measured: Project,
) -> None:
    before = dict(measured.samples.values_list("pk", "label_id"))
    people = dict(measured.samples.filter(source=Source.PERSON).values_list("pk", "label_id"))
    first = measured.iterations.get()
    second = judged_again(
        measured, {position: wrong_label(measured, position) for position in range(1, 60, 2)}
    )
    spoiled = dict(measured.samples.values_list("pk", "label_id"))
    assert spoiled != before

    run_restore(first)
    assert dict(measured.samples.values_list("pk", "label_id")) == before
    assert dict(measured.samples.filter(source=Source.PERSON).values_list("pk", "label_id")) == people
    assert Evidence.read(measured).current == first
    assert Activity.objects.get(verb="restored").what == "round 1"

    run_restore(Iteration.objects.get(pk=second.pk))
    assert dict(measured.samples.values_list("pk", "label_id")) == spoiled
    assert Evidence.read(measured).current == second
    assert Activity.objects.filter(verb="restored").count() == 2


def test_a_withdrawn_correction_returns_to_the_round_that_is_in_force(measured: Project) -> None:
    second = judged_again(measured, {position: wrong_label(measured, position) for position in range(60)})
    run_restore(measured.iterations.get(number=1))
    row = measured.samples.exclude(source=Source.PERSON).first()
    assert row is not None
    corrections.correct_sample(
        row.pk, label_id=second.predictions.get(sample=row).verdict_id, user=measured.owner
    )
    assert corrections.correct_sample(row.pk, label_id=None, user=measured.owner).label_id == row.label_id


def test_a_correction_withdrawn_meanwhile_returns_to_that_round(
    measured: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a row that the run has passed already, while the later round is still in force."""
    first = measured.iterations.get()
    second = judged_again(measured, {position: wrong_label(measured, position) for position in range(60)})
    row, other = measured.samples.exclude(source=Source.PERSON)[:2]
    chosen = second.predictions.get(sample=other).verdict_id
    for each in (row, other):
        corrections.correct_sample(each.pk, label_id=chosen, user=measured.owner)
    mark = restore_round._mark

    def withdraw_first(*arguments: Any) -> None:
        corrections.correct_sample(row.pk, label_id=None, user=measured.owner)
        mark(*arguments)

    monkeypatch.setattr(restore_round, "_mark", withdraw_first)
    run_restore(first)
    row.refresh_from_db()
    other.refresh_from_db()
    assert row.label_id == first.predictions.get(sample=row, source="slm").verdict_id
    assert row.source != Source.PERSON
    assert (other.label_id, other.source) == (chosen, Source.PERSON), "it was not withdrawn"


def test_there_is_no_way_to_a_round_that_was_never_judged(project: Project) -> None:
    project.stages.filter(kind=kinds.SLM.key).delete()
    with pytest.raises(NotReadyError, match="no finished SLM filtering"):
        restore_round.start_restore(project.iterations.get(), user=project.owner)


def test_the_workbook_tells_the_measured_accuracy_or_that_it_is_unknown(measured: Project) -> None:
    told = {line[0]: line[1:] for line in quality_lines(measured) if line}
    accuracy = Evidence.read(measured).accuracy
    assert accuracy is not None
    assert told["accuracy of this file"] == pytest.approx(
        [accuracy.value, accuracy.low, accuracy.high], abs=1e-6
    )
    assert told["rows drawn at random and answered"] == [30]
    assert len(told["precision of positive"]) == 3

    AuditDraw.objects.all().delete()
    words = " ".join(str(line[0]) for line in quality_lines(measured) if line)
    assert "Unknown: it takes at least 10 answered random rows; there are 0." in words
