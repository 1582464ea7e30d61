"""The audit: rows drawn at random to measure the file."""

from __future__ import annotations

import pytest

from annotation.errors import AnnotationError, NotReadyError
from annotation.models import AuditDraw, Correction, Project, Source
from annotation.pipeline import audit, review
from tests.factories import make_project, make_user
from tests.pages import judge_rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    project = make_project(rows=60)
    judge_rows(project)
    return project


def answer_all(project: Project) -> None:
    for sample in audit.pending_draws(project, project.owner):
        review.correct_sample(
            sample.pk, label_id=sample.reference_id, user=project.owner, because=Correction.Because.AUDIT
        )


def test_drawn_rows_wait_until_they_are_answered(project: Project) -> None:
    assert audit.draw_sample(project, rows=20, user=project.owner) == 20
    assert audit.pending_draws(project, project.owner).count() == 20
    answer_all(project)
    assert not audit.pending_draws(project, project.owner).exists()
    assert project.samples.filter(source=Source.PERSON).count() == 20


def test_a_blind_answer_that_agrees_with_the_models_is_on_record_too(project: Project) -> None:
    audit.draw_sample(project, rows=60, user=project.owner)
    sample = audit.pending_draws(project, project.owner)[0]
    review.correct_sample(
        sample.pk, label_id=sample.label_id, user=project.owner, because=Correction.Because.AUDIT
    )
    stored = Correction.objects.get()
    assert (stored.because, stored.label_id) == (Correction.Because.AUDIT, stored.replaced_label_id)


def test_weights_add_up_to_the_rows_that_were_open(project: Project) -> None:
    decided = project.samples.get(position=3)
    review.correct_sample(decided.pk, label_id=decided.label_id, user=project.owner)
    audit.draw_sample(project, rows=25, user=project.owner)
    draws = AuditDraw.objects.filter(project=project)
    assert sum(draw.weight for draw in draws) == pytest.approx(59)
    assert not draws.filter(sample=decided).exists()


def test_a_new_draw_replaces_the_rows_that_nobody_answered(project: Project) -> None:
    audit.draw_sample(project, rows=10, user=project.owner)
    first = audit.pending_draws(project, project.owner)[0]
    review.correct_sample(
        first.pk, label_id=first.reference_id, user=project.owner, because=Correction.Because.AUDIT
    )
    audit.draw_sample(project, rows=15, user=project.owner)
    assert audit.pending_draws(project, project.owner).count() == 15
    assert AuditDraw.objects.get(sample=first).batch == 1
    assert set(AuditDraw.objects.exclude(sample=first).values_list("batch", flat=True)) == {2}


def test_a_drawn_row_that_somebody_decides_while_browsing_is_not_asked_for_again(project: Project) -> None:
    audit.draw_sample(project, rows=10, user=project.owner)
    found = audit.pending_draws(project, project.owner)[0]
    review.correct_sample(found.pk, label_id=found.label_id, user=make_user("browser"))
    assert not audit.pending_draws(project, project.owner).filter(pk=found.pk).exists()


def test_who_withdrew_a_word_on_a_row_is_not_asked_blind_but_others_are(project: Project) -> None:
    audit.draw_sample(project, rows=10, user=project.owner)
    found = audit.pending_draws(project, project.owner)[0]
    review.correct_sample(found.pk, label_id=found.label_id, user=project.owner)
    review.correct_sample(found.pk, label_id=None, user=project.owner)
    assert not audit.pending_draws(project, project.owner).filter(pk=found.pk).exists()
    assert audit.pending_draws(project, make_user("other")).filter(pk=found.pk).exists()


def test_a_draw_asks_for_a_possible_number_and_for_labelled_rows(project: Project) -> None:
    with pytest.raises(AnnotationError, match="1 to 5000 rows, not 0"):
        audit.draw_sample(project, rows=0, user=project.owner)
    with pytest.raises(NotReadyError, match="no row has a label"):
        audit.draw_sample(make_project(owner=make_user("new")), rows=10, user=None)
