"""Later rounds ask the LLM again about rows at risk only, unless all are wished for."""

from __future__ import annotations

import numpy as np
import pytest
from django.utils import timezone

from annotation.models import Flag, Prediction, Project, Sample, Source, Stage
from annotation.pipeline.iterate import start_round
from annotation.pipeline.label import run_labeling
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
from annotation.pipeline.review import corrections
from mlcore.label.calibrate import calibrate_batch
from tests.support.factories import (
    ScriptedModel,
    judge_sentiment,
    make_project,
    run_llm_stage,
    start_llm_round,
)
from tests.support.pages import Cast, make_cast

pytestmark = pytest.mark.django_db(transaction=True)

RISKY = 8


@pytest.fixture
def cast(monkeypatch: pytest.MonkeyPatch) -> Cast:
    """A project after its first round: the small model doubts the first 8 rows of 40."""
    cast = make_cast(rows=40)
    use(monkeypatch, cast.project)
    assert run_llm_stage(start_llm_round(cast.project)).status == Stage.Status.DONE
    cast.project.samples.update(flag=Flag.RIGHT, risk=0.05, clean_prob=0.95)
    cast.project.samples.filter(position__lt=RISKY).update(flag=Flag.WRONG, risk=0.6, clean_prob=0.2)
    return cast


def use(monkeypatch: pytest.MonkeyPatch, project: Project) -> ScriptedModel:
    project.llm_settings = {**project.llm_settings, "demonstrations": 0}
    project.save()
    model = ScriptedModel(judge_sentiment)
    monkeypatch.setattr(run_labeling, "open_model", lambda *args, **kwargs: model)
    return model


def risky_ids(project: Project) -> set[int]:
    return set(project.samples.filter(position__lt=RISKY).values_list("pk", flat=True))


def test_only_rows_at_risk_are_asked_again_and_the_others_keep_their_answer(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cast.project.latest_iteration()
    model = use(monkeypatch, cast.project)
    stage = run_llm_stage(start_llm_round(cast.project))

    assert stage.status == Stage.Status.DONE
    assert set(model.asked) == risky_ids(cast.project)
    assert (stage.done, stage.total, stage.detail["kept"], stage.detail["kept_from"]) == (40, 40, 32, 1)
    answers = Prediction.objects.filter(iteration=stage.iteration, source="llm")
    assert answers.count() == 40
    kept = answers.filter(origin="earlier").order_by("sample")
    before = Prediction.objects.filter(iteration=first, sample__in=kept.values("sample")).order_by("sample")
    columns = ("sample", "label", "probs", "calibrated", "raw")
    assert list(kept.values_list(*columns)) == list(before.values_list(*columns))


def test_the_page_says_which_rows_kept_their_answer(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, cast.project)
    run_llm_stage(start_llm_round(cast.project))
    page = cast.client("viewer").get(cast.url("labeling/")).content.decode()
    assert "Kept from round 1" in page
    assert page.count("from an earlier round") == 32


def test_all_rows_are_asked_on_request(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    model = use(monkeypatch, cast.project)
    answer = cast.client("owner").post(cast.url("rounds/start/"), {"started_from": "llm", "ask_all": "yes"})
    assert answer.status_code == 302
    iteration = cast.project.latest_iteration()
    assert iteration is not None
    run_llm_stage(iteration)
    assert len(model.asked) == 40


def test_answers_of_a_withdrawn_round_are_not_kept(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    cast.project.iterations.update(withdrawn_at=timezone.now())
    model = use(monkeypatch, cast.project)
    run_llm_stage(start_llm_round(cast.project))
    assert len(model.asked) == 40


def test_new_labels_make_every_row_a_new_question(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    configure.set_labels(
        cast.project, [LabelDraft("positive"), LabelDraft("negative"), LabelDraft("neither")]
    )
    model = use(monkeypatch, cast.project)
    run_llm_stage(start_llm_round(cast.project))
    assert len(model.asked) == 40


def test_a_row_that_a_person_decided_is_not_asked_about_and_stays_theirs(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = cast.project.samples.get(position=0)
    other = next(each for each in cast.project.label_list() if each.pk != sample.llm_label_id)
    corrections.correct_sample(sample.pk, label_id=other.pk, user=cast.project.owner)
    model = use(monkeypatch, cast.project)
    run_llm_stage(start_llm_round(cast.project))
    assert set(model.asked) == risky_ids(cast.project) - {sample.pk}
    sample.refresh_from_db()
    assert (sample.label_id, sample.source) == (other.pk, Source.PERSON)


def test_a_round_whose_first_call_failed_takes_mended_settings(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlcore.errors import ModelUnavailableError

    model = ScriptedModel(lambda query, names: ModelUnavailableError("The token was refused."))
    monkeypatch.setattr(run_labeling, "open_model", lambda *args, **kwargs: model)
    iteration = start_llm_round(cast.project)
    stage = run_llm_stage(iteration)
    assert stage.status == Stage.Status.FAILED
    assert iteration.predictions.count() == 32

    cast.project.llm_settings = {**cast.project.llm_settings, "model": "mended"}
    cast.project.save()
    use(monkeypatch, cast.project)
    start_round.resume(stage)
    iteration.refresh_from_db()
    assert iteration.llm_settings["model"] == "mended"
    assert run_llm_stage(iteration).detail["kept"] == 32


def test_a_project_that_no_small_model_has_judged_is_asked_wholly() -> None:
    project = make_project(rows=10)
    assert project.samples.at_risk().count() == 10
    Sample.objects.update(llm_label=project.label_list()[0], flag=Flag.INCONSISTENT)
    assert project.samples.at_risk().count() == 10


def test_calibration_can_aim_at_uneven_shares() -> None:
    probs = np.random.default_rng(0).dirichlet([2.0, 1.0, 1.0], size=500)
    target = np.array([0.7, 0.2, 0.1])
    assert calibrate_batch(probs, target=target).mean(axis=0) == pytest.approx(target, abs=1e-4)
    assert calibrate_batch(probs).mean(axis=0) == pytest.approx([1 / 3] * 3, abs=1e-4)


def test_a_lost_training_folder_is_said_and_the_llm_labels_rows_to_choose_from(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = use(monkeypatch, cast.project)
    cast.project.llm_settings |= {"demonstrations": 2}
    cast.project.save()
    stage = run_llm_stage(start_llm_round(cast.project))
    assert stage.status == Stage.Status.DONE, stage.error
    assert stage.detail["features_lost"]
    assert len(stage.iteration.demonstrations) == 6, "two in each of three sets"  # type: ignore[union-attr]
    assert model.asked
