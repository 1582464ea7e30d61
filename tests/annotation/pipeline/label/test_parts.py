"""A labeling in parts that any worker takes up: nothing is asked twice or lost, and all share one budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from annotation.jobs import parts as job_parts
from annotation.jobs import state, turns, work
from annotation.jobs.details import LabelingDetail, PartDetail
from annotation.jobs.reaper import reap
from annotation.jobs.work import run_next, run_stage, take_up
from annotation.messages import message_text
from annotation.models import Iteration, Prediction, Stage
from annotation.pipeline.iterate import start_round
from annotation.pipeline.label import parts, run_labeling, unanswered
from annotation.pipeline.label.shared_budget import SharedBudget
from annotation.pipeline.project import configure
from mlcore.config import LlmConfig
from mlcore.llm.budget import Budget, Usage
from tests.support.factories import ScriptedModel, judge_sentiment, run_llm_stage, start_llm_round
from tests.support.fake_llm import Call, FakeLlm, Step, fails, fake_llm, says
from tests.support.pages import Cast, make_cast
from tests.support.stages import fresh, let_lease_run_out

pytestmark = pytest.mark.django_db(transaction=True)
ROWS, ROWS_OF_PART, TOKENS = 40, 10, 43


def judge(call: Call) -> Step:
    return says("positive" if "warm" in call.prompt else "negative")


@pytest.fixture
def server() -> Iterator[FakeLlm]:
    with fake_llm(lambda _number, call: judge(call)) as server:
        yield server


@pytest.fixture
def cast(server: FakeLlm, monkeypatch: pytest.MonkeyPatch) -> Cast:
    monkeypatch.setattr(unanswered, "WINDOW_ROWS", ROWS_OF_PART)
    monkeypatch.setattr(parts, "SERVER_PART_ROWS", ROWS_OF_PART)
    monkeypatch.setattr(job_parts, "LOOK_SECONDS", 0.01)
    cast = make_cast(rows=ROWS)
    configure_llm(cast, server)
    return cast


def configure_llm(cast: Cast, server: FakeLlm, **settings: Any) -> None:
    config = LlmConfig(
        kind="endpoint",
        model="fake",
        base_url=server.url,
        concurrency=4,
        demonstrations=0,
        second_question_percent=0,
        **settings,
    )
    configure.set_llm(cast.project, config=config, token=None)


def before_each_part(monkeypatch: pytest.MonkeyPatch, does: Callable[[int], None]) -> None:
    """Call a function with the number of the part, from 0, whenever the stage's own worker is about to take one."""
    numbers = iter(range(1_000))

    def first(stage_id: int) -> bool:
        does(next(numbers))
        return run_stage(stage_id)

    monkeypatch.setattr(job_parts, "run_stage", first)


def check_whole(iteration: Iteration, server: FakeLlm, stage: Stage) -> None:
    assert stage.status == Stage.Status.DONE, stage.error
    assert iteration.predictions.filter(source="llm", error="").count() == ROWS
    assert iteration.project.samples.filter(llm_label__isnull=False).count() == ROWS
    assert max(Counter(call.prompt for call in server.calls).values()) == 1, "no question twice"
    assert stage.tokens_in + stage.tokens_out == TOKENS * len(server.calls)
    assert (stage.done, stage.parts.count()) == (ROWS, 0)
    assert LabelingDetail.of(stage).own == {}


def test_one_worker_does_all_parts_of_its_stage(cast: Cast, server: FakeLlm) -> None:
    iteration = start_llm_round(cast.project)
    check_whole(iteration, server, run_llm_stage(iteration))


def test_another_worker_does_some_of_them(
    cast: Cast, server: FakeLlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    iteration, seen = start_llm_round(cast.project), list[tuple[int, int]]()
    stage = iteration.stages.get()

    def help_out(number: int) -> None:
        seen.append((stage.parts.count(), fresh(stage).done))
        if number == 0:
            run_stage(stage.parts.order_by("pk").last().pk)  # type: ignore[union-attr]
            seen.append((stage.parts.count(), fresh(stage).done))

    before_each_part(monkeypatch, help_out)
    check_whole(iteration, server, run_llm_stage(iteration))
    assert seen[:2] == [(4, 0), (4, ROWS_OF_PART)], "what another worker did counts at once"


def test_a_part_whose_worker_died_is_done_again_from_the_rows_that_it_lacks(
    cast: Cast, server: FakeLlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    iteration = start_llm_round(cast.project)
    stage = iteration.stages.get()

    def die(number: int) -> None:
        if number == 0:
            part = stage.parts.order_by("pk").last()
            assert part
            assert take_up(part.pk)
            sample = cast.project.samples.get(position=ROWS - 1)
            Prediction.objects.create(iteration=iteration, sample=sample, source="llm", raw="positive")
            cast.project.samples.filter(pk=sample.pk).update(llm_label=cast.project.label_list()[0])
            let_lease_run_out(part)

    before_each_part(monkeypatch, die)
    reaped: list[int] = []
    monkeypatch.setattr(job_parts, "sleep", lambda _seconds: reaped.append(reap()))
    stage = run_llm_stage(iteration)
    assert sum(reaped) == 1
    assert stage.status == Stage.Status.DONE, stage.error
    assert len(server.calls) == ROWS - 1, "one was answered before its worker died"


@pytest.mark.parametrize("ask", [state.request_pause, state.request_cancel])
def test_a_stopped_labeling_goes_on_with_its_parts(
    cast: Cast, server: FakeLlm, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Stage], None]
) -> None:
    monkeypatch.setattr("annotation.jobs.lease.STOP_POLL_SECONDS", 0.0)
    iteration = start_llm_round(cast.project)
    stage = iteration.stages.get()

    def stop(number: int) -> None:
        if number == 2:
            ask(stage)

    before_each_part(monkeypatch, stop)
    stopped = run_llm_stage(iteration)
    assert stopped.status in (Stage.Status.PAUSED, Stage.Status.CANCELLED)
    assert len(server.calls) < ROWS
    assert not turns.waiting_in("llm"), "no worker takes a part of what is stopped"
    state.resume(stage)
    check_whole(iteration, server, run_llm_stage(iteration))


def test_a_pause_reaches_the_parts_at_work(cast: Cast) -> None:
    whole, first, _second = stage_in_parts(cast)
    state.request_pause(whole)
    assert fresh(first).requested_action == Stage.RequestedAction.PAUSE


def test_a_part_that_fails_fails_the_whole_with_its_sentence(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_llm(lambda _number, _call: fails(401, "wrong key")) as server:
        configure_llm(cast, server)
        iteration = start_llm_round(cast.project)
        stage = run_llm_stage(iteration)
        assert stage.status == Stage.Status.FAILED
        assert "wrong key" in message_text(stage.error)
    with fake_llm(lambda _number, call: judge(call)) as server:
        configure_llm(cast, server)
        start_round.resume(stage)
        check_whole(iteration, server, run_llm_stage(iteration))


def test_a_labeling_in_parts_pauses_before_it_would_exceed_its_budget(cast: Cast, server: FakeLlm) -> None:
    configure_llm(cast, server, budget_tokens=1_400)
    iteration = start_llm_round(cast.project)
    stage = run_llm_stage(iteration)
    assert (stage.status, stage.resume_at) == (Stage.Status.PAUSED, None)
    assert f"{TOKENS * len(server.calls)} of 1,400 tokens" in message_text(stage.error)
    assert 0 < stage.tokens_in + stage.tokens_out == TOKENS * len(server.calls) <= 1_400
    configure_llm(cast, server, budget_tokens=0)
    state.resume(stage)
    check_whole(iteration, server, run_llm_stage(iteration))


def stage_in_parts(cast: Cast) -> tuple[Stage, Stage, Stage]:
    """A stage with two parts, all at work."""
    whole = start_llm_round(cast.project).stages.get()
    detail = LabelingDetail(own=dict.fromkeys(parts.SUMS, 0) | {"done": 0, "tokens_in": 30, "tokens_out": 0})
    Stage.objects.filter(pk=whole.pk).update(detail=detail.to_json())
    made = [
        Stage.objects.create(
            project=cast.project, parent=whole, kind="llm-part", detail=PartDetail().to_json()
        )
        for _ in range(2)
    ]
    for stage in (whole, *made):
        assert take_up(stage.pk)
    return fresh(whole), fresh(made[0]), fresh(made[1])


def test_all_parts_together_are_granted_no_more_than_the_budget(cast: Cast) -> None:
    _whole, first, second = stage_in_parts(cast)
    budgets = [Budget(tokens=1, money=1e-9), Budget(tokens=1, money=1e-9)]
    shares = [
        SharedBudget(part, 1_000, 0.0, budget) for part, budget in zip((first, second), budgets, strict=True)
    ]
    shares[0].ask_for(Usage(20, 1))
    assert budgets[0].tokens == 21 * 21
    shares[1].ask_for(Usage(30, 0))
    assert budgets[1].tokens == 1_000 - 30 - 21 * 21, "what the stage itself spent counts, too"
    Stage.objects.filter(pk=first.pk).update(status=Stage.Status.DONE, tokens_in=40)
    shares[1].ask_for(Usage(900, 0))
    assert budgets[1].tokens == 1_000 - 30 - 40, "what a part did not spend is free again"


def test_a_process_takes_no_part_of_what_it_is_at_work_on(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def take(stage_id: int) -> bool:
        taken.append(stage_id)
        Stage.objects.filter(pk=stage_id).delete()
        return True

    monkeypatch.setattr(work, "run_stage", take)
    whole, _first, second = stage_in_parts(cast)
    Stage.objects.filter(pk=second.pk).update(status=Stage.Status.QUEUED)
    monkeypatch.setattr(work, "_at_work", {whole.pk: whole})
    run_next(second.pk)
    assert taken == []
    monkeypatch.setattr(work, "_at_work", {})
    run_next(second.pk)
    assert taken == [second.pk]


def test_a_model_on_this_machine_is_loaded_once_for_the_parts_of_a_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unanswered, "WINDOW_ROWS", ROWS_OF_PART)
    monkeypatch.setattr(parts, "LOCAL_PART_ROWS", ROWS_OF_PART)
    loaded: list[str] = []

    def load(where: str) -> Callable[..., ScriptedModel]:
        return lambda *_arguments, **_settings: loaded.append(where) or ScriptedModel(judge_sentiment)  # type: ignore[func-returns-value]

    monkeypatch.setattr(run_labeling, "open_model", load("whole"))
    monkeypatch.setattr(parts, "open_model", load("part"))
    project = make_cast(rows=ROWS).project
    iteration = start_llm_round(project)
    asked = iter([ROWS // ROWS_OF_PART])

    def count_parts(_number: int) -> None:
        if wanted := next(asked, None):
            assert iteration.stages.get().parts.count() == wanted

    before_each_part(monkeypatch, count_parts)
    stage = run_llm_stage(iteration)

    assert stage.status == Stage.Status.DONE, stage.error
    assert (stage.done, loaded) == (ROWS, ["whole"])
    assert iteration.predictions.filter(source="llm", error="").count() == ROWS


def test_windows_that_follow_each_other_are_one_part(
    cast: Cast, server: FakeLlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "SERVER_PART_ROWS", 3 * ROWS_OF_PART)
    sizes: list[int] = []
    create = state.create_parts

    def noted(stage: Stage, kind: Any, made: Any) -> None:
        sizes.extend(rows for rows, _detail in made)
        create(stage, kind, made)

    monkeypatch.setattr(state, "create_parts", noted)
    iteration = start_llm_round(cast.project)
    stage = run_llm_stage(iteration)
    assert sizes == [3 * ROWS_OF_PART, ROWS - 3 * ROWS_OF_PART]
    check_whole(iteration, server, stage)
