"""Try a few rows before a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from annotation.errors import BusyError
from annotation.jobs import kinds
from annotation.jobs.details import TrialDetail
from annotation.jobs.work import work_on
from annotation.models import CachedAnswer, Prediction, Project, Stage
from annotation.pipeline.label import run_labeling, start_try_out, try_out
from annotation.pipeline.project import configure
from mlcore.config import LlmConfig
from mlcore.llm.cost import forecast
from tests.support.factories import ScriptedModel, judge_sentiment, run_llm_stage, start_llm_round
from tests.support.fake_llm import Call, Step, fake_llm, says
from tests.support.pages import make_cast

pytestmark = pytest.mark.django_db(transaction=True)


def use(monkeypatch: pytest.MonkeyPatch, judge: Any = judge_sentiment) -> ScriptedModel:
    model = ScriptedModel(judge, identity="one model")
    for step in (try_out, run_labeling):
        monkeypatch.setattr(step, "open_model", lambda *args, **kwargs: model)
    return model


def run_trial(project: Project) -> Stage:
    stage = start_try_out.start_trial(project, user=project.owner)
    with work_on(stage.pk) as job:
        assert job is not None
        try_out.run_trial(job)
    stage.refresh_from_db()
    return stage


def test_twenty_rows_are_answered_and_the_run_does_not_ask_them_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cast = make_cast(rows=60)
    cast.project.llm_settings = {**cast.project.llm_settings, "demonstration_sets": 1}
    cast.project.save()
    tried = use(monkeypatch)
    stage = run_trial(cast.project)
    assert stage.status == Stage.Status.DONE, stage.error
    assert len(tried.asked) == len(set(tried.asked)) == 20
    assert CachedAnswer.objects.count() == 20
    assert not Prediction.objects.exists(), "their labels are not saved"
    assert (stage.tokens_in, TrialDetail.of(stage).unreadable) == (20 * 7, 0)

    asked = use(monkeypatch)
    run = run_llm_stage(start_llm_round(cast.project))
    assert run.status == Stage.Status.DONE
    handful = asked.asked[: len(asked.asked) - 60]
    assert len(handful) == 40
    assert not set(handful) & set(tried.asked), "these questions were answered already"
    assert run.detail["cached"] == 20


def test_without_demonstrations_the_answers_are_those_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    cast = make_cast(rows=30)
    cast.project.llm_settings = {**cast.project.llm_settings, "demonstrations": 0}
    cast.project.save()
    use(monkeypatch)
    run_trial(cast.project)
    asked = use(monkeypatch)
    run_llm_stage(start_llm_round(cast.project))
    assert len(asked.asked) == 10


def test_the_page_shows_answers_prompt_and_what_the_corpus_will_take() -> None:
    def script(_number: int, call: Call) -> Step:
        return says("No idea at all" if "number 1" in call.prompt else "positive")

    cast = make_cast(rows=20)
    with fake_llm(script) as server:
        config = LlmConfig(
            kind="endpoint",
            model="fake",
            base_url=server.url,
            demonstrations=0,
            second_question_percent=0,
            price_in=100.0,
            price_out=200.0,
        )
        configure.set_llm(cast.project, config=config, token=None)
        stage = run_trial(cast.project)
    unreadable = sum("number 1" in row["query"] for row in stage.detail["rows"])
    assert unreadable == 11
    assert stage.detail["unreadable_share"] == pytest.approx(11 / 20)
    client = cast.client("owner")
    page = client.get(cast.url("configure/trial/")).content.decode()
    assert "Unreadable: 11 of 20." in page
    assert "No idea at all" in page
    assert "a warm and clever film" in page
    assert "Cost" in page
    estimate = stage.detail["estimate"]
    # 9 rows took one call of 40 and 3 tokens, 11 rows two.
    assert estimate["tokens_in"]["middle"] == pytest.approx(9 * 40 + 11 * 80)
    assert estimate["tokens_in"]["low"] < estimate["tokens_in"]["middle"] < estimate["tokens_in"]["high"]
    assert estimate["money"]["middle"] == pytest.approx((1240 * 100 + 93 * 200) / 1e6)
    assert estimate["seconds"]["middle"] > 0


@pytest.mark.parametrize(("percent", "rows"), [(25, 50), (0, 40)])
def test_the_estimate_counts_second_questions(percent: int, rows: int) -> None:
    cast = make_cast(rows=40)
    with fake_llm(says("positive")) as server:
        config = LlmConfig(
            kind="endpoint",
            model="fake",
            base_url=server.url,
            demonstrations=0,
            second_question_percent=percent,
        )
        configure.set_llm(cast.project, config=config, token=None)
        stage = run_trial(cast.project)
    assert len(server.calls) == 20, "no row is asked twice by the try-out itself"
    assert stage.detail["estimate"]["tokens_in"]["middle"] == pytest.approx(rows * 40)
    page = cast.client("owner").get(cast.url("configure/trial/")).content.decode()
    assert ("asked a second time" in page) == bool(percent)


@pytest.mark.parametrize(
    "changed", ["nothing", "a budget", "the model", "the address", "the prompt", "a label"]
)
def test_a_changed_configuration_makes_answers_stale(monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
    cast = make_cast(rows=20)
    project = cast.project
    use(monkeypatch)
    run_trial(project)
    if changed in ("a budget", "the model", "the address"):
        change = {"a budget": "budget_tokens", "the model": "model", "the address": "base_url"}[changed]
        project.llm_settings = {**project.llm_config.as_dict(), change: 5 if changed == "a budget" else "x"}
    elif changed == "the prompt":
        project.prompt_description += " Be strict."
    elif changed == "a label":
        project.labels.filter(name="positive").update(description="praise")
    project.save()
    page = cast.client("owner").get(cast.url("configure/trial/")).content.decode()
    assert ("have changed since this trial run" in page) == (changed not in ("nothing", "a budget"))


def test_a_click_starts_one_try_out_and_a_second_one_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    cast = make_cast(rows=20)
    client = cast.client("owner")
    assert "Try 20 rows" in client.get(cast.url("configure/start/")).content.decode()
    assert client.post(cast.url("configure/trial/start/")).status_code == 302
    assert client.get(cast.url("configure/trial/")).status_code == 200
    with pytest.raises(BusyError, match="already running or paused"):
        start_try_out.start_trial(cast.project, user=None)
    assert Stage.objects.filter(kind=kinds.TRIAL.key).count() == 1
    client.get("/")  # the list of projects does not take it for the project's state


def test_whoever_tries_again_while_a_try_out_is_paused_sees_it_with_its_buttons() -> None:
    cast = make_cast(rows=20)
    client = cast.client("owner")
    client.post(cast.url("configure/trial/start/"))
    stage = Stage.objects.get(kind=kinds.TRIAL.key)
    Stage.objects.filter(pk=stage.pk).update(status=Stage.Status.PAUSED)
    page = client.post(cast.url("configure/trial/start/"), follow=True).content.decode()
    assert "A trial run is already running or paused." in page
    assert cast.url(f"stages/{stage.pk}/resume/") in page
    assert "Change models" in page, "the sentence says what to mend, the page leads there"


@pytest.mark.parametrize(("status", "is_offered"), [("paused", True), ("running", False)])
def test_changed_settings_can_be_tried_while_a_run_is_paused(status: str, is_offered: bool) -> None:
    cast = make_cast(rows=20)
    start_llm_round(cast.project).stages.update(status=status)
    client = cast.client("owner")
    assert ("Try 20 rows" in client.get(cast.url("configure/start/")).content.decode()) == is_offered
    client.post(cast.url("configure/trial/start/"))
    assert Stage.objects.filter(kind=kinds.TRIAL.key).exists() == is_offered


def test_a_try_out_of_a_later_round_counts_the_rows_at_risk(monkeypatch: pytest.MonkeyPatch) -> None:
    cast = make_cast(rows=40)
    use(monkeypatch)
    run_llm_stage(start_llm_round(cast.project))
    cast.project.samples.update(flag="right")
    cast.project.samples.filter(position__lt=10).update(flag="wrong")
    stage = run_trial(cast.project)
    assert stage.detail["estimate"]["tokens_in"]["middle"] == pytest.approx(10 * 7)


def test_the_forecast_scales_with_rows_and_knows_its_spread() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(80, 120, size=20).tolist()
    found = forecast(
        tokens,
        [2] * 20,
        [0.5] * 20,
        longer=[3.0] * 20,
        rows=1000,
        handful=100,
        at_once=10,
        price_in=1,
        price_out=0,
    )
    mean = float(np.mean(tokens))
    assert found.tokens_in.middle == pytest.approx(1000 * 3 * mean + 100 * mean)
    assert found.tokens_out.low == found.tokens_out.high == 2200
    assert found.seconds is not None
    assert found.seconds.middle == pytest.approx(55)
    assert found.tokens_in.low < found.tokens_in.middle < found.tokens_in.high
