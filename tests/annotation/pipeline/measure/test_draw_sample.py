"""Rows that are drawn at random to be answered blind."""

from __future__ import annotations

from typing import Any

import pytest

from annotation.errors import AnnotationError, NotReadyError
from annotation.models import (
    AuditDraw,
    Correction,
    Prediction,
    Project,
    Source,
)
from annotation.pipeline.measure import draw_sample
from annotation.pipeline.measure.accuracy import Evidence
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
from annotation.pipeline.review import corrections
from tests.support.audited import answer_all
from tests.support.factories import make_project, make_user
from tests.support.pages import judge_rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    project = make_project(rows=60)
    judge_rows(project)
    return project


def test_drawn_rows_wait_until_they_are_answered(project: Project) -> None:
    assert draw_sample.draw_sample(project, rows=20, user=project.owner, seed=0) == 20
    assert draw_sample.pending_draws(project, project.owner).count() == 20
    answer_all(project)
    assert not draw_sample.pending_draws(project, project.owner).exists()
    assert project.samples.filter(source=Source.PERSON).count() == 20


def test_a_blind_answer_that_agrees_with_the_models_is_on_record_too(project: Project) -> None:
    draw_sample.draw_sample(project, rows=60, user=project.owner, seed=0)
    sample = draw_sample.pending_draws(project, project.owner)[0]
    corrections.correct_sample(
        sample.pk, label_id=sample.label_id, user=project.owner, because=Correction.Because.AUDIT
    )
    stored = Correction.objects.get()
    assert (stored.because, stored.label_id) == (Correction.Because.AUDIT, stored.replaced_label_id)


def test_weights_add_up_to_the_rows_that_were_open(project: Project) -> None:
    decided = project.samples.get(position=3)
    corrections.correct_sample(decided.pk, label_id=decided.label_id, user=project.owner)
    draw_sample.draw_sample(project, rows=25, user=project.owner, seed=0)
    draws = AuditDraw.objects.filter(project=project)
    assert sum(draw.weight for draw in draws) == pytest.approx(59)
    assert not draws.filter(sample=decided).exists()


def test_a_new_draw_replaces_the_rows_that_nobody_answered(project: Project) -> None:
    draw_sample.draw_sample(project, rows=10, user=project.owner, seed=0)
    first = draw_sample.pending_draws(project, project.owner)[0]
    corrections.correct_sample(
        first.pk, label_id=first.reference_id, user=project.owner, because=Correction.Because.AUDIT
    )
    draw_sample.draw_sample(project, rows=15, user=project.owner, seed=0)
    assert draw_sample.pending_draws(project, project.owner).count() == 15
    assert AuditDraw.objects.get(sample=first).draw_number == 1
    assert set(AuditDraw.objects.exclude(sample=first).values_list("draw_number", flat=True)) == {2}


def test_a_drawn_row_that_somebody_decides_while_browsing_is_not_asked_for_again(project: Project) -> None:
    draw_sample.draw_sample(project, rows=10, user=project.owner, seed=0)
    found = draw_sample.pending_draws(project, project.owner)[0]
    corrections.correct_sample(found.pk, label_id=found.label_id, user=make_user("browser"))
    assert not draw_sample.pending_draws(project, project.owner).filter(pk=found.pk).exists()


def test_who_withdrew_a_word_on_a_row_is_not_asked_blind_but_others_are(project: Project) -> None:
    draw_sample.draw_sample(project, rows=10, user=project.owner, seed=0)
    found = draw_sample.pending_draws(project, project.owner)[0]
    corrections.correct_sample(found.pk, label_id=found.label_id, user=project.owner)
    corrections.correct_sample(found.pk, label_id=None, user=project.owner)
    assert not draw_sample.pending_draws(project, project.owner).filter(pk=found.pk).exists()
    assert draw_sample.pending_draws(project, make_user("other")).filter(pk=found.pk).exists()


def test_a_draw_asks_for_a_possible_number_and_for_labelled_rows(project: Project) -> None:
    with pytest.raises(AnnotationError, match="1 to 5,000 rows, not 0"):
        draw_sample.draw_sample(project, rows=0, user=project.owner, seed=0)
    with pytest.raises(NotReadyError, match="no row has a label"):
        draw_sample.draw_sample(make_project(owner=make_user("new")), rows=10, user=None, seed=0)


def test_a_draw_makes_sure_of_a_few_rows_of_a_scarce_label_until_they_are_answered(project: Project) -> None:
    names = [label.name for label in project.label_list()]
    configure.set_labels(project, [LabelDraft(name) for name in [*names, "mixed"]])
    mixed = project.labels.get(name="mixed")
    project.samples.filter(position__lt=6).update(label=mixed)
    Prediction.objects.filter(sample__project=project, sample__position__lt=6).update(verdict=mixed)
    draw_sample.draw_sample(project, rows=20, user=None, seed=0)
    drawn = AuditDraw.objects.filter(sample__label=mixed)
    assert drawn.count() == 5
    assert sum(draw.weight for draw in drawn) == pytest.approx(6)
    assert sum(draw.weight for draw in AuditDraw.objects.all()) == pytest.approx(60)
    answer_all(project)
    draw_sample.draw_sample(project, rows=20, user=None, seed=0)
    assert not AuditDraw.objects.filter(draw_number=2, stratum__startswith="label").exists()


def test_rows_that_people_decide_while_a_draw_is_made_are_not_answers_of_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in the table; one as a member of the draw before."""
    draw_sample.draw_sample(project, rows=30, user=None, seed=0)
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
    assert draw_sample.draw_sample(project, rows=60, user=None, seed=0) == 59
    assert AuditDraw.objects.get(sample=answered).draw_number == 1
    assert AuditDraw.objects.get(sample=decided[0]).draw_number == 2
    evidence = Evidence.read(project)
    assert [row.sample_id for row in evidence.answered] == [answered.pk]
    assert draw_sample.pending_draws(project, make_user("other")).count() == 58
    assert not draw_sample.pending_draws(project, make_user("another")).filter(pk=decided[0]).exists()
