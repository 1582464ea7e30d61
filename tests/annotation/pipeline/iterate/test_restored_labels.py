"""The labels of an earlier round, restored."""

from __future__ import annotations

from typing import Any

import pytest

from annotation.errors import NotReadyError
from annotation.jobs import kinds
from annotation.models import (
    Activity,
    Iteration,
    Project,
    Source,
)
from annotation.pipeline.iterate import restore_round
from annotation.pipeline.measure.accuracy import Evidence
from annotation.pipeline.review import corrections
from tests.support.audited import answer_half, judged_again, run_restore, wrong_label
from tests.support.factories import make_project
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
    mark = restore_round.mark_round_in_use

    def withdraw_first(*arguments: Any) -> None:
        corrections.correct_sample(row.pk, label_id=None, user=measured.owner)
        mark(*arguments)

    monkeypatch.setattr(restore_round, "mark_round_in_use", withdraw_first)
    run_restore(first)
    row.refresh_from_db()
    other.refresh_from_db()
    assert row.label_id == first.predictions.get(sample=row, source="slm").verdict_id
    assert row.source != Source.PERSON
    assert (other.label_id, other.source) == (chosen, Source.PERSON), "it was not rolled back"


def test_there_is_no_way_to_a_round_that_was_never_judged(project: Project) -> None:
    project.stages.filter(kind=kinds.SLM.key).delete()
    with pytest.raises(NotReadyError, match="no finished SLM filtering"):
        restore_round.start_restore(project.iterations.get(), user=project.owner)
