"""Leases and fences of a stage, and workers that die."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dramatiq
import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from annotation.errors import LeaseLostError
from annotation.jobs import kinds, state
from annotation.jobs.lease import shutting_down
from annotation.jobs.reaper import reap
from annotation.jobs.work import take_up, work_on
from annotation.management.commands import worker
from annotation.messages import message_text
from annotation.models import Project, Stage
from tests.support.stages import fresh, let_lease_run_out, messages_for, stop

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def stage() -> Stage:
    project = Project.objects.create(name="Letters", owner=User.objects.create_user("olga"))
    stage = state.create_stage(project, kinds.LLM, total=10, user=None)
    dramatiq.get_broker().flush_all()
    return stage


@pytest.fixture(autouse=True)
def _empty_queues() -> Iterator[None]:
    yield
    dramatiq.get_broker().flush_all()


@pytest.fixture
def _quick(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.LEASE_SECONDS = 0.3
    monkeypatch.setattr("annotation.jobs.lease.STOP_POLL_SECONDS", 0.0)


@pytest.mark.usefixtures("_quick")
def test_a_heartbeat_keeps_the_lease_of_work_that_says_nothing(stage: Stage) -> None:
    with work_on(stage.pk):
        time.sleep(0.8)
        assert reap() == 0
    assert fresh(stage).status == Stage.Status.DONE


@pytest.mark.parametrize("minutes", [-2, 2])
def test_a_machine_whose_clock_is_off_takes_no_stage_from_another(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    with work_on(stage.pk):
        real = timezone.now
        monkeypatch.setattr(timezone, "now", lambda: real() + timedelta(minutes=minutes))
        assert reap() == 0
        state.request_pause(stage)
        assert fresh(stage).requested_action == Stage.RequestedAction.PAUSE, "its worker is known to live"


@pytest.mark.usefixtures("_quick")
def test_a_worker_whose_lease_went_to_another_can_write_nothing(stage: Stage) -> None:
    with work_on(stage.pk) as stalled:
        assert stalled is not None
        let_lease_run_out(stage)
        reap()
        with work_on(stage.pk) as second:
            assert second is not None
            second.progress.report(done=7, force=True)
            stalled.progress.report(done=2, force=True)
            assert stalled.lease.should_stop()
            with pytest.raises(LeaseLostError, match="another worker has taken over"), transaction.atomic():
                stalled.lease.fence()
            with transaction.atomic():
                second.lease.fence()
        assert fresh(stage).done == 7
    after = fresh(stage)
    assert (after.status, after.attempt, after.done) == (Stage.Status.DONE, 2, 7)


def test_a_fence_outside_a_transaction_is_a_mistake_that_is_told(stage: Stage) -> None:
    with work_on(stage.pk) as job:
        assert job is not None
        with pytest.raises(RuntimeError, match="inside"):
            job.lease.fence()


def test_a_stage_is_tried_again_after_a_death_and_failed_after_three(stage: Stage, settings: Any) -> None:
    for death in (1, 2, 3):
        take_up(stage.pk)  # the worker dies: nothing more is heard of it
        let_lease_run_out(stage)
        assert reap() == 1
        assert fresh(stage).crashes == death
    after = fresh(stage)
    assert after.status == Stage.Status.FAILED
    assert message_text(after.error).startswith("The worker crashed 3 times in a row")
    assert reap() == 0


def test_deaths_between_which_the_work_gets_on_are_not_in_a_row(stage: Stage) -> None:
    for reached in (3, 3, 5, 8, 9):
        job = take_up(stage.pk)
        assert job is not None
        job.progress.report(done=reached, force=True)
        let_lease_run_out(stage)
        reap()
    assert (fresh(stage).status, fresh(stage).crashes) == (Stage.Status.QUEUED, 1)
    for _death in (2, 3):
        job = take_up(stage.pk)
        assert job is not None
        job.progress.report(done=4, force=True)  # it began anew and got no further than before
        let_lease_run_out(stage)
        reap()
    assert fresh(stage).status == Stage.Status.FAILED


def test_a_clock_that_jumps_takes_no_stage_from_its_worker(
    stage: Stage, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every lease looks run out when a laptop wakes up; the workers get the time to renew them."""
    settings.LEASE_SECONDS = 1
    monkeypatch.setattr(worker, "REAP_SECONDS", 0.02)  # the reaper comes before the next heartbeat
    jump = timedelta(0)
    now, seconds = timezone.now, time.time
    monkeypatch.setattr(timezone, "now", lambda: now() + jump)
    monkeypatch.setattr(time, "time", lambda: seconds() + jump.total_seconds())
    over = threading.Event()
    reaper_thread = threading.Thread(target=worker.reap_until, args=(over, ["llm"]))
    with work_on(stage.pk) as job:
        assert job is not None
        reaper_thread.start()
        time.sleep(0.2)
        jump = timedelta(hours=1)
        time.sleep(2)
        assert not job.lease.should_stop()
    over.set()
    reaper_thread.join()
    after = fresh(stage)
    assert (after.status, after.attempt, after.crashes) == (Stage.Status.DONE, 1, 0)
    assert after.seconds < 60, "time at work is measured by a clock that does not jump"


def test_a_request_to_a_dead_worker_is_carried_out_by_the_reaper(stage: Stage) -> None:
    take_up(stage.pk)
    state.request_pause(stage)
    let_lease_run_out(stage)
    reap()
    assert fresh(stage).status == Stage.Status.PAUSED


def test_many_reapers_at_once_count_one_death(stage: Stage) -> None:
    take_up(stage.pk)
    let_lease_run_out(stage)

    def reap_in_thread() -> None:
        reap()
        connection.close()

    threads = [threading.Thread(target=reap_in_thread) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fresh(stage).crashes == 1


def test_a_stage_that_nobody_took_up_is_sent_again_once_in_a_lease_time(stage: Stage, settings: Any) -> None:
    long_ago = timezone.now() - timedelta(seconds=settings.LEASE_SECONDS + 1)
    Stage.objects.filter(pk=stage.pk).update(queued_at=long_ago)
    assert [reap(), reap()] == [1, 0]
    assert messages_for(stage) == 1
    assert fresh(stage).crashes == 0


def test_a_worker_that_is_going_hands_its_stage_to_another_without_counting_a_death(stage: Stage) -> None:
    try:
        with work_on(stage.pk) as job:
            assert job is not None
            shutting_down.set()
            assert job.lease.should_stop()
            stop()
    finally:
        shutting_down.clear()
    assert (fresh(stage).status, fresh(stage).crashes, messages_for(stage)) == (Stage.Status.QUEUED, 0, 1)


def test_a_worker_that_is_going_takes_up_nothing_and_wakes_others_for_what_waits(stage: Stage) -> None:
    shutting_down.set()
    try:
        with work_on(stage.pk) as job:
            assert job is None
    finally:
        shutting_down.clear()
    state.wake_workers({"slm", "files"})
    assert messages_for(stage) == 0
    state.wake_workers({"short"})
    assert messages_for(stage) == 1


def test_a_command_that_is_interrupted_hands_its_stage_back(stage: Stage) -> None:
    with pytest.raises(KeyboardInterrupt), work_on(stage.pk):
        stop(KeyboardInterrupt())
    assert fresh(stage).status == Stage.Status.QUEUED
