"""What people checked sets how sure the LLM's answers are, and how much of its bias is removed."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from annotation.jobs import state
from annotation.models import AuditDraw, CachedAnswer, Correction, Prediction, Project, Stage
from annotation.models.sql import update_rows
from annotation.pipeline.label import calibration, run_labeling
from annotation.pipeline.project import configure
from annotation.pipeline.review import corrections
from mlcore.config import LlmConfig
from mlcore.label.calibrate import calibrate_batch, choose_strength
from tests.support.factories import (
    GOOD,
    ScriptedModel,
    judge_sentiment,
    make_project,
    run_llm_stage,
    start_llm_round,
)
from tests.support.fake_llm import Call, Step, fake_llm, says

pytestmark = pytest.mark.django_db(transaction=True)


def check(project: Project, rows: int, *, wrong_every: int = 0) -> None:
    """Draw the first rows for an audit and answer them; every so manieth is another label than the reference's."""
    labels = project.label_list()
    for sample in project.samples.order_by("position")[:rows]:
        AuditDraw.objects.create(
            project=project,
            sample=sample,
            draw_number=1,
            round=1,
            stratum="all",
            stratum_rows=120,
            stratum_drawn=rows,
            frame_rows=120,
            drawn_at=timezone.now(),
        )
        right = next(place for place, each in enumerate(labels) if each.pk == sample.reference_id)
        other = wrong_every and sample.position % wrong_every == 0
        corrections.correct_sample(
            sample.pk,
            label_id=labels[1 - right if other else right].pk,
            user=project.owner,
            because=Correction.Because.AUDIT,
        )


def run(project: Project, monkeypatch: pytest.MonkeyPatch) -> Stage:
    def judge(query: str, names: Any) -> Any:
        return (0.999, 0.001) if any(text in query for text in GOOD) else (0.001, 0.999)

    project.llm_settings = {**project.llm_settings, "demonstrations": 0, "demonstration_sets": 1}
    project.save()
    model = ScriptedModel(judge)
    monkeypatch.setattr(run_labeling, "open_model", lambda *args, **kwargs: model)
    stage = run_llm_stage(start_llm_round(project))
    assert stage.status == Stage.Status.DONE, stage.error
    return stage


def test_a_model_that_is_too_sure_is_made_as_sure_as_the_checked_rows_allow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = make_project(rows=120)
    check(project, 60, wrong_every=5)
    stage = run(project, monkeypatch)
    assert stage.detail["calibration"]["checked"] == 60
    assert stage.detail["calibration"]["temperature"] > 2
    confidence = project.samples.get(position=100).llm_confidence
    assert confidence == pytest.approx(0.8, abs=0.05), "4 of 5 checked answers are right"


def test_fewer_than_fifty_checked_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project(rows=120)
    check(project, 49, wrong_every=5)
    stage = run(project, monkeypatch)
    assert stage.detail["calibration"]["temperature"] == 1.0
    assert project.samples.get(position=100).llm_confidence == pytest.approx(0.999, abs=0.001)


def test_less_bias_is_removed_where_checked_rows_show_uneven_classes() -> None:
    rng = np.random.default_rng(1)
    truth = (rng.random(1_000) < 0.15).astype(np.int64)
    toward = np.where(truth == 1, 0.7, 0.25) + rng.normal(0, 0.08, 1_000)
    probs = np.clip(np.column_stack([1 - toward, toward]), 0.02, 0.98)
    checked = np.arange(200)
    strength = choose_strength(probs, checked, truth[:200], np.ones(200))
    assert strength < 1
    accuracy = {
        each: (calibrate_batch(probs, strength=each).argmax(1) == truth).mean() for each in (strength, 1.0)
    }
    assert accuracy[strength] > accuracy[1.0] + 0.02

    even = (rng.random(1_000) < 0.5).astype(np.int64)
    assert choose_strength(probs, checked, even[:200], np.ones(200)) == 1.0


def test_a_stated_confidence_is_kept_apart_and_calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(number: int, call: Call) -> Step:
        label = "positive" if any(text in call.prompt for text in GOOD) else "negative"
        states = '"confidence"' in call.prompt
        return says(
            json.dumps({"label": label} | ({"confidence": 90 if number % 2 else 60} if states else {}))
        )

    project = make_project(rows=20)
    with fake_llm(script) as server:
        config = LlmConfig(
            kind="endpoint", model="m", base_url=server.url, demonstrations=0, second_question_percent=0
        )
        configure.set_llm(project, config=config, token=None)
        stage = run_llm_stage(start_llm_round(project))
    assert stage.status == Stage.Status.DONE, stage.error
    answers = Prediction.objects.filter(source="llm", stated__isnull=False)
    assert answers.count() > 15
    assert not answers.filter(probs__isnull=False).exists(), "it is no log-probability"
    assert set(answers.values_list("stated", flat=True)) == {0.9, 0.6}
    means = {
        stated: np.mean([max(answer.calibrated or [0.0]) for answer in answers.filter(stated=stated)])
        for stated in (0.9, 0.6)
    }
    assert 0.5 < means[0.6] < means[0.9] < 1.0
    assert CachedAnswer.objects.filter(stated__isnull=False).count() == answers.count()


@pytest.mark.parametrize("checked_meanwhile", [False, True])
def test_a_calibration_that_stops_goes_on_behind_the_rows_that_it_wrote(
    monkeypatch: pytest.MonkeyPatch, checked_meanwhile: bool
) -> None:
    monkeypatch.setattr(calibration, "WRITE_ROWS", 30)
    project, written = make_project(rows=120), list[int]()

    def dying(model: Any, columns: Any, rows: Any) -> None:
        if len(written) == 60:
            written.append(0)
            raise RuntimeError("the worker dies")
        update_rows(model, columns, rows)
        written.extend(row[-1] for row in rows)

    monkeypatch.setattr(calibration, "update_rows", dying)
    project.llm_settings = {**project.llm_settings, "demonstrations": 0, "demonstration_sets": 1}
    project.save()
    model = ScriptedModel(judge_sentiment)
    monkeypatch.setattr(run_labeling, "open_model", lambda *args, **kwargs: model)
    iteration = start_llm_round(project)
    stage = run_llm_stage(iteration)
    assert (stage.status, stage.detail["phase_done"]) == (Stage.Status.FAILED, 60)
    if checked_meanwhile:
        check(project, 60)
    state.resume(stage)
    stage = run_llm_stage(iteration)
    assert stage.status == Stage.Status.DONE, stage.error
    again = 120 if checked_meanwhile else 60
    assert len(written) == 60 + 1 + again, "what people checked meanwhile changes all rows, nothing else does"
    answers = Prediction.objects.order_by("pk").values_list("probs", "calibrated")
    if not checked_meanwhile:
        probs, calibrated = (np.array(values) for values in zip(*answers, strict=True))
        assert calibrated == pytest.approx(calibrate_batch(probs, strength=1.0), abs=1e-4)
