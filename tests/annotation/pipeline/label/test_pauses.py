"""Runs that pause by themselves: the budget is spent, or the server is down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone

from annotation.jobs import state
from annotation.jobs.reaper import reap
from annotation.messages import message_text
from annotation.models import CachedAnswer, Iteration, Prediction, Stage
from annotation.pipeline.project import configure
from mlcore.config import LlmConfig
from mlcore.llm.endpoint import rate_limit
from tests.support.factories import run_llm_stage, start_llm_round
from tests.support.fake_llm import Call, FakeLlm, Step, fails, fake_llm, play, says
from tests.support.pages import Cast, make_cast

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server() -> Iterator[FakeLlm]:
    with fake_llm(lambda _number, call: judge(call)) as server:
        yield server


def judge(call: Call) -> Step:
    return says("positive" if "warm" in call.prompt else "negative")


def make_run(server: FakeLlm, **settings: object) -> tuple[Cast, Iteration]:
    cast = make_cast(rows=40)
    config = LlmConfig(
        kind="endpoint",
        model="fake",
        base_url=server.url,
        concurrency=4,
        demonstrations=0,
        second_question_percent=0,
        **settings,  # type: ignore[arg-type]
    )
    configure.set_llm(cast.project, config=config, token=None)
    return cast, start_llm_round(cast.project)


def test_a_run_pauses_before_it_would_exceed_its_budget(
    server: FakeLlm,
) -> None:
    cast, iteration = make_run(server, budget_tokens=1_500)
    rows = cast.project.samples.count()
    stage = run_llm_stage(iteration)

    assert stage.status == Stage.Status.PAUSED
    assert stage.resume_at is None, "it waits for a person"
    assert f"{43 * len(server.calls):,} of 1,500 tokens" in message_text(stage.error)
    assert stage.tokens_in + stage.tokens_out == 43 * len(server.calls) <= 1_500
    assert Prediction.objects.count() == CachedAnswer.objects.count() == len(server.calls) < rows
    page = cast.client("owner").get(cast.url("labeling/")).content.decode()
    assert "of 1,500 tokens" in page
    assert "Save and resume" in page

    client = cast.client("owner")
    answer = client.post(cast.url("labeling/budget/"), {"budget_tokens": 100_000, "resume": "yes"})
    assert answer.status_code == 302
    stage.refresh_from_db()
    assert (stage.status, stage.error) == (Stage.Status.QUEUED, "")
    stage = run_llm_stage(iteration)
    assert stage.status == Stage.Status.DONE
    assert len(server.calls) == rows, "no row was asked twice"
    assert stage.tokens_in == 40 * rows


def test_a_budget_in_money_is_refused_without_prices_and_shown_with_them(server: FakeLlm) -> None:
    cast, iteration = make_run(server)
    client = cast.client("owner")
    answer = client.post(cast.url("labeling/budget/"), {"budget_money": "5"}, follow=True)
    assert "Enter the prices too" in answer.content.decode()
    client.post(cast.url("labeling/budget/"), {"budget_money": "5", "price_in": "1000", "price_out": "2000"})
    cast.project.refresh_from_db()
    assert cast.project.llm_config.budget_money == 5
    stage = run_llm_stage(iteration)
    page = client.get(cast.url("labeling/")).content.decode()
    assert f"{stage.done * (40 * 1000 + 3 * 2000) / 1e6:.2f} of 5.00" in page


def test_a_server_that_is_down_pauses_the_run_and_the_reaper_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rate_limit, "BREAKER", 2)
    with fake_llm(play(*[fails(503)] * 4, then=says("positive"))) as server:
        _cast, iteration = make_run(server)
        before = timezone.now()
        stage = run_llm_stage(iteration)
        assert stage.status == Stage.Status.PAUSED
        assert "2 calls in a row failed" in message_text(stage.error)
        assert "503" in message_text(stage.error)
        assert stage.resume_at is not None
        assert timedelta(seconds=59) < stage.resume_at - before < timedelta(seconds=75)
        assert reap() == 0, "not before its time"

        Stage.objects.update(resume_at=timezone.now() - timedelta(seconds=1))
        assert reap() == 1
        stage.refresh_from_db()
        assert stage.status == Stage.Status.QUEUED
        before = timezone.now()
        stage = run_llm_stage(iteration)
        assert stage.resume_at is not None
        assert stage.resume_at - before > timedelta(seconds=119), "the wait grows"

        Stage.objects.update(resume_at=timezone.now() - timedelta(seconds=1))
        reap()
        assert run_llm_stage(iteration).status == Stage.Status.DONE


def test_whoever_pauses_a_run_that_waits_for_its_server_keeps_it_paused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rate_limit, "BREAKER", 1)
    with fake_llm(fails(500)) as server:
        _cast, iteration = make_run(server)
        stage = run_llm_stage(iteration)
    assert stage.resume_at is not None
    state.request_pause(stage)
    stage.refresh_from_db()
    assert stage.status == Stage.Status.PAUSED
    assert not stage.resume_at


def test_a_refused_token_fails_the_run_within_two_calls(server: FakeLlm) -> None:
    server.script = lambda _number, _call: fails(401)
    _cast, iteration = make_run(server)
    stage = run_llm_stage(iteration)
    assert stage.status == Stage.Status.FAILED
    assert "401" in message_text(stage.error)
    assert len(server.calls) <= 2


def test_the_page_tells_how_the_calls_go(server: FakeLlm) -> None:
    server.script = lambda number, call: fails(429) if number in (5, 6) else judge(call)
    cast, iteration = make_run(server)
    stage = run_llm_stage(iteration)
    assert stage.detail["calls"]["failures"] == {"limited": 2}
    page = cast.client("viewer").get(cast.url("labeling/")).content.decode()
    assert "2 × rate limit (429)" in page


def test_answers_that_no_database_can_hold_stop_no_run(server: FakeLlm) -> None:
    odd = ["\0", "half \ud83c", "positive\0", "\ud83c\udfac"]

    def script(number: int, call: Call) -> Step:
        usage = {"prompt_tokens": 10**30, "completion_tokens": -1}
        body = {"choices": [{"message": {"content": odd[number % len(odd)]}}], "usage": usage}
        return Step(body=json.dumps(body).encode()) if number < 16 else judge(call)

    server.script = script
    _cast, iteration = make_run(server, budget_tokens=100_000)
    stage = run_llm_stage(iteration)
    assert stage.status == Stage.Status.DONE, stage.error
    assert Prediction.objects.filter(error="").count() == 40
    assert 0 < Prediction.objects.filter(label=None).count() <= 8
    assert stage.tokens_in + stage.tokens_out <= 100_000, (
        "a count that can't be is charged as the most that it may be"
    )
