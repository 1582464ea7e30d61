from __future__ import annotations

import pytest

from annotation.jobs import kinds
from annotation.models import Iteration, Project, Stage
from annotation.pipeline.iterate.refine_estimate import RefineEstimate, refine_estimate
from annotation.pipeline.review import corrections
from tests.support.factories import make_project
from tests.support.pages import judge_rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return make_project(rows=12)


def estimate(project: Project, iteration: Iteration) -> RefineEstimate:
    return refine_estimate(project, iteration, rows=6)


def test_a_row_takes_what_a_row_of_the_newest_labeling_took(project: Project) -> None:
    iteration = judge_rows(project)
    assert estimate(project, iteration).tokens is None, "no run has told its tokens"
    Stage.objects.filter(kind=kinds.LLM.key).update(
        done=12, tokens_in=1_000, tokens_out=200, detail={"kept": 2, "price_in": 1.0, "price_out": 1.0}
    )
    assert estimate(project, iteration).tokens == 720, "1,200 tokens for 10 asked rows"
    assert estimate(project, iteration).money == pytest.approx(720 / 1e6)


def test_a_correction_since_the_round_began_is_news(project: Project) -> None:
    iteration = judge_rows(project)
    assert not estimate(project, iteration).has_news
    sample = project.samples.get(position=0)
    corrections.correct_sample(sample.pk, label_id=project.label_list()[0].pk, user=project.owner)
    assert estimate(project, iteration).has_news
