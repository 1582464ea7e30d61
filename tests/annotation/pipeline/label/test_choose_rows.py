"""The LLM is asked about a share of the rows: random ones first, then the riskiest, and nothing is lost on the way."""

from __future__ import annotations

import pytest

from annotation.models import Prediction, Project, Sample, Stage
from tests.annotation.pipeline.label.test_second_question import run_round, truthful
from tests.support.factories import make_project
from tests.support.fake_llm import FakeLlm

pytestmark = pytest.mark.django_db(transaction=True)


def ask_share(project: Project, percent: int) -> tuple[Stage, FakeLlm]:
    return run_round(truthful, project, asked_percent=percent, second_question_percent=0)


def answered(project: Project, round_number: int) -> set[int]:
    answers = Prediction.objects.filter(source="llm", iteration__project=project, error="")
    return set(answers.filter(iteration__number=round_number).values_list("sample", flat=True))


def test_the_first_round_asks_about_the_share_and_no_other_row() -> None:
    project = make_project()
    stage, server = ask_share(project, 25)
    assert stage.status == Stage.Status.DONE, stage.error
    assert len(server.calls) == 10 == len(answered(project, 1))
    assert (stage.done, stage.total) == (10, 10)
    assert (stage.detail["rows_chosen"], stage.detail["chosen_of"]) == (10, 40)
    assert project.samples.filter(llm_label=None).count() == 30


def test_later_rounds_ask_about_the_riskiest_rows_and_keep_the_other_answers() -> None:
    project = make_project()
    ask_share(project, 25)
    first = answered(project, 1)
    judge(project)
    riskiest = set(project.samples.order_by("-risk").values_list("pk", flat=True)[:10])
    stage, server = ask_share(project, 25)
    assert stage.status == Stage.Status.DONE, stage.error
    assert len(server.calls) == 10 == len(riskiest)
    assert answered(project, 2) == first | riskiest
    assert project.samples.exclude(llm_label=None).count() == len(first | riskiest)


def test_all_rows_are_asked_about_where_no_share_is_set() -> None:
    project = make_project()
    _stage, server = ask_share(project, 100)
    assert len(server.calls) == 40
    assert not project.samples.filter(llm_round__isnull=False).exists()


def judge(project: Project) -> None:
    """What a training leaves on the rows: risks that rise with the position, none of them called right."""
    samples = list(project.samples.order_by("position"))
    for sample in samples:
        sample.risk, sample.flag = 0.3 + sample.position / 100, "wrong"
    Sample.objects.bulk_update(samples, ["risk", "flag"])
