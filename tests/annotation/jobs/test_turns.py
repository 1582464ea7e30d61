"""Whose turn it is: short jobs have threads of their own, owners and projects take turns, long labelings give way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import dramatiq
import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from annotation.jobs import kinds, lease, state, turns
from annotation.jobs.kind import JobKind
from annotation.jobs.work import MOST_TRAININGS, Job, run_next, take_up
from annotation.models import Project, Stage
from tests.support.stages import fresh

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _empty_queues() -> Iterator[None]:
    yield
    dramatiq.get_broker().flush_all()


def queued(owner: str, kind: JobKind = kinds.LLM, *, rows: int = 100_000, project: str = "") -> Stage:
    user, _made = User.objects.get_or_create(username=owner)
    count = Project.objects.count()
    named, _made = Project.objects.get_or_create(name=project or f"{owner} {count}", defaults={"owner": user})
    return state.create_stage(named, kind, total=rows, user=user)


def waiting(queue: str = "llm") -> list[int]:
    return [stage.pk for stage in turns.waiting_in(queue)]


def test_what_people_wait_for_and_jobs_of_few_rows_are_short() -> None:
    assert turns.queue_of(queued("olga", kinds.TRIAL, rows=20)) == "short"
    assert turns.queue_of(queued("olga", kinds.PLAN)) == "short"
    assert turns.queue_of(queued("olga", kinds.SLM, rows=200)) == "short"
    assert turns.queue_of(queued("olga", kinds.SLM, rows=20_000)) == "slm"
    assert turns.queue_of(queued("olga", kinds.IMPORT, rows=0)) == "files", "nobody knows its rows yet"


def test_an_owner_with_fewer_jobs_at_work_goes_first() -> None:
    take_up(queued("anna").pk)
    more, other = queued("anna"), queued("boris")
    assert waiting() == [other.pk, more.pk]


def test_of_one_owner_the_project_with_fewer_jobs_goes_first() -> None:
    take_up(queued("anna", kinds.EXPORT, project="large").pk)
    more, other = (
        queued("anna", kinds.EXPORT, project="large"),
        queued("anna", kinds.EXPORT, project="small"),
    )
    assert waiting("files") == [other.pk, more.pk]


def test_a_message_is_answered_with_the_job_whose_turn_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds.LLM.run, lambda job: None)
    monkeypatch.setitem(kinds.KINDS, "llm", replace(kinds.LLM, follow=""))
    take_up(queued("anna").pk)
    more, other = queued("anna"), queued("boris")
    run_next(more.pk)
    assert (fresh(more).status, fresh(other).status) == (Stage.Status.QUEUED, Stage.Status.DONE)
    run_next(other.pk)
    assert fresh(more).status == Stage.Status.DONE, "a message for each: nobody is left"


def test_a_worker_trains_few_models_at_once_and_goes_on_with_those_that_it_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stages = [queued(owner, kinds.SLM, rows=200) for owner in ("anna", "boris", "carla")]
    seen: list[int] = []

    def train(job: Job[Any]) -> None:
        seen.append(job.stage.pk)
        if len(seen) < len(stages):
            run_next(stages[-1].pk)  # as another thread would
        if len(seen) == MOST_TRAININGS:
            assert fresh(stages[-1]).status == Stage.Status.QUEUED, "two are at work"

    monkeypatch.setattr(kinds.SLM.run, train)
    run_next(stages[0].pk)
    assert seen == [stage.pk for stage in stages]
    assert {fresh(stage).status for stage in stages} == {Stage.Status.DONE}


def let_wait(stage: Stage) -> None:
    Stage.objects.filter(pk=stage.pk).update(queued_at=timezone.now() - timedelta(minutes=1))


def test_the_longest_labeling_gives_way_to_another_owner_and_to_nobody_else() -> None:
    first, second = queued("anna"), queued("anna")
    for stage, minutes in ((first, 9), (second, 5)):
        take_up(stage.pk)
        Stage.objects.filter(pk=stage.pk).update(started_at=timezone.now() - timedelta(minutes=minutes))
    let_wait(queued("anna"))
    assert not turns.gives_way(first), "the same owner's next one waits for its end"
    other = queued("boris")
    assert not turns.gives_way(first), "a free thread may still take it"
    let_wait(other)
    assert turns.gives_way(first)
    assert not turns.gives_way(second)


def test_a_training_gives_no_way_since_it_would_lose_an_epoch() -> None:
    training = queued("anna", kinds.SLM)
    take_up(training.pk)
    let_wait(queued("boris", kinds.SLM))
    assert not turns.gives_way(training)


def test_a_stop_that_was_noticed_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "STOP_POLL_SECONDS", 0.0)
    job = take_up(queued("anna").pk)
    assert job is not None
    state.request_pause(job.stage)
    assert job.lease.should_stop()
    state.resume(fresh(job.stage))
    assert job.lease.should_stop(), "a loop has ended early by it; nobody may take its rows for done"
