"""Rounds compared on rows that people checked."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotation.jobs import kinds
from annotation.models import (
    Activity,
    Iteration,
    Project,
    Stage,
)
from annotation.pipeline.export.provenance import quality_lines
from annotation.pipeline.measure import compare_rounds, draw_sample, round_metrics
from annotation.pipeline.measure.accuracy import Evidence
from tests.support.audited import answer_all, answer_half, judged_again, wrong_label
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
    assert found.what == "round 2: of 30 sampled rows 0 became right and 9 wrong since round 1"


def test_rows_that_a_round_learned_from_are_told_from_those_drawn_after_it(
    measured: Project, client: Client
) -> None:
    def page() -> str:
        client.force_login(measured.owner)
        return client.get(reverse("annotation:accuracy", args=[measured.pk])).content.decode()

    assert Evidence.read(measured).learned == 0
    assert "were labelled before this round" not in page()
    judged_again(measured, {})
    draw_sample.draw_sample(measured, rows=10, user=measured.owner, seed=0)
    answer_all(measured)
    evidence = Evidence.read(measured)
    assert (evidence.learned, len(evidence.answered)) == (30, 40)
    assert "30 of the sampled rows were labelled before this round" in page()
    told = {line[0]: line[1:] for line in quality_lines(measured) if line}
    assert told["sampled rows that were labelled before this round and used in its training"] == [30]


def test_rows_checked_before_the_training_count_as_learned(
    project: Project,
) -> None:
    draw_sample.draw_sample(project, rows=20, user=project.owner, seed=0)
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
