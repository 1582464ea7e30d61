"""The certificate is made of rows drawn with known probabilities, and of nothing that chance did not choose."""

from __future__ import annotations

import pytest
from django.db.models import Q
from django.utils import timezone

from annotation.errors import NotReadyError
from annotation.jobs import kinds
from annotation.jobs.details import CertificateDetail
from annotation.jobs.work import run_stage
from annotation.models import AuditDraw, Correction, Project, Stage
from annotation.pipeline.measure import certify, draw_sample
from annotation.pipeline.measure.certificate import CertifiedFile, file_hash
from annotation.pipeline.measure.draw_for_certificate import draw_for_certificate, drawn_rows
from annotation.pipeline.project.goal import set_goal
from annotation.pipeline.review import corrections
from mlcore.records import NO_LABEL
from tests.support.audited import answer_all, judged_again
from tests.support.factories import make_project
from tests.support.pages import judge_rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    project = make_project(rows=60)
    judge_rows(project)
    set_goal(project, user=project.owner)
    return project


def draw(project: Project, rows: int, seed: int = 0, *, evenly: bool = False) -> None:
    assert draw_for_certificate(project, rows=rows, user=project.owner, seed=seed, evenly=evenly) == rows


def certificate(project: Project) -> CertificateDetail:
    stage = certify.start_certificate(project, user=project.owner)
    run_stage(stage.pk)
    stage.refresh_from_db()
    assert stage.status == Stage.Status.DONE, stage.error
    return CertificateDetail.of(stage)


def decide(project: Project, position: int, label_id: int | None) -> None:
    corrections.correct_sample(
        project.samples.get(position=position).pk, label_id=label_id, user=project.owner
    )


def test_each_row_is_drawn_with_the_chance_of_all_rows_then_open(project: Project) -> None:
    decide(project, 0, project.label_list()[0].pk)
    draw(project, 3, evenly=True)
    chances = [row.chance for row in drawn_rows(project)]
    assert chances == pytest.approx([1 / 59, 1 / 58, 1 / 57])


def test_risky_rows_are_drawn_more_often_and_stand_for_fewer(project: Project) -> None:
    project.samples.update(risk=0.01)
    project.samples.filter(position__lt=20).update(risk=0.6)
    draw(project, 20)
    draws = list(drawn_rows(project).select_related("sample"))
    risky = [row for row in draws if row.sample.position < 20]
    others = [row for row in draws if row.sample.position >= 20]
    assert len(risky) > len(others) > 0
    assert max(row.weight for row in risky) < min(row.weight for row in others)
    assert all(row.least and row.chance and row.least <= row.chance for row in draws)
    assert draws[0].expected == pytest.approx(20 * 0.6 + 40 * 0.01)


def test_rows_that_wait_stay_when_more_are_drawn(project: Project) -> None:
    draw(project, 10)
    first = [row.sample_id for row in drawn_rows(project)]
    draw(project, 5, seed=1)
    assert [row.sample_id for row in drawn_rows(project)][:10] == first
    assert len({row.sample_id for row in drawn_rows(project)}) == 15


def test_a_file_without_errors_is_certified_after_enough_answers(project: Project) -> None:
    draw(project, 50)
    answer_all(project)
    made = certificate(project)
    assert made.statement["holds"]
    assert (made.statement["drawn"], made.statement["rows"], made.others) == (50, 60, [])


def test_a_file_that_reaches_the_target_has_no_smaller_part(project: Project) -> None:
    project.samples.filter(position__gte=30).update(risk=0.9)
    draw(project, 50)
    answer_all(project)
    statement = certificate(project).statement
    assert statement["holds"]
    assert (statement["part"]["rows"], statement["part"]["others"]) == (60, 0)


def test_nothing_is_certified_before_anybody_was_asked(project: Project) -> None:
    statement = certificate(project).statement
    assert not statement["holds"]
    assert statement["accuracy"]["low"] == 0.0


def test_reference_labels_take_no_part(project: Project) -> None:
    draw(project, 20)
    answer_all(project)
    before = certificate(project).statement
    project.samples.update(reference=None)
    after = certificate(project).statement
    assert {**before, "made_at": ""} == {**after, "made_at": ""}


def test_rows_chosen_by_people_are_decided_and_no_evidence(project: Project) -> None:
    truth = project.samples.get(position=5).reference_id
    decide(project, 5, truth)
    draw(project, 20)
    answer_all(project)
    evidence = CertifiedFile.read(project).evidence
    assert [answer.chance is None for answer in evidence.answers] == [True] + 20 * [False]
    statement = certificate(project).statement
    assert (statement["drawn"], statement["decided"]) == (20, 21)


def test_a_row_that_went_back_to_the_models_counts_as_wrong(project: Project) -> None:
    decide(project, 5, project.samples.get(position=5).reference_id)
    decide(project, 5, None)
    draw(project, 20)
    answer_all(project)
    assert certificate(project).statement["uncovered"] == 1


def test_a_drawn_row_that_is_passed_over_counts_as_wrong(project: Project) -> None:
    draw(project, 20)
    passed, *others = draw_sample.pending_draws(project, project.owner)
    for sample in others:
        corrections.correct_sample(
            sample.pk,
            label_id=sample.reference_id,
            user=project.owner,
            because=Correction.Because.AUDIT,
        )
    statement = certificate(project).statement
    assert (statement["unanswered"], statement["drawn"]) == (1, 19)
    assert passed.pk not in [
        answer.row for answer in CertifiedFile.read(project).evidence.answers if answer.at
    ]


def test_an_answer_that_differs_is_listed(project: Project) -> None:
    draw(project, 1)
    sample = draw_sample.pending_draws(project, project.owner)[0]
    other = project.labels.get(~Q(pk=sample.label_id))
    corrections.correct_sample(
        sample.pk, label_id=other.pk, user=project.owner, because=Correction.Because.AUDIT
    )
    assert certificate(project).statement["disagreed"] == [sample.number]


def test_new_labels_of_the_models_need_new_evidence(project: Project) -> None:
    draw(project, 20)
    answer_all(project)
    judged_again(project, {})
    Stage.objects.filter(kind=kinds.SLM.key, iteration__number=2).update(
        started_at=timezone.now(), finished_at=timezone.now()
    )
    assert not drawn_rows(project).exists()
    evidence = CertifiedFile.read(project).evidence
    assert (len(evidence.answers), int(evidence.decided.sum())) == (0, 20)
    draw(project, 10)
    answer_all(project)
    assert CertifiedFile.read(project).evidence.attempt == 2
    assert AuditDraw.objects.filter(project=project).count() == 30


def test_every_answer_is_kept_to_repeat_the_certificate(project: Project) -> None:
    draw(project, 4, evenly=True)
    answer_all(project)
    answers = certificate(project).statement["answers"]
    assert [round(answer["chance"], 6) for answer in answers] == [
        round(1 / rows, 6) for rows in (60, 59, 58, 57)
    ]
    assert all(answer["asked"] == answer["label"] for answer in answers)
    assert NO_LABEL not in [answer.label for answer in CertifiedFile.read(project).evidence.answers]


def test_the_hash_is_of_contents_and_labels(project: Project) -> None:
    before = file_hash(project)
    assert file_hash(project) == before
    sample = project.samples.get(position=3)
    decide(project, 3, project.labels.get(~Q(pk=sample.label_id)).pk)
    assert file_hash(project) != before


def test_a_project_without_a_goal_has_no_certificate() -> None:
    project = make_project(rows=12)
    with pytest.raises(NotReadyError, match="Set a goal first"):
        certify.start_certificate(project, user=project.owner)
