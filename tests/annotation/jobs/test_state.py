from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import dramatiq
import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection, transaction
from django.db.models import F
from django.template.loader import render_to_string

from annotation.errors import BusyError, InvalidFileError, LeaseLostError, NotReadyError
from annotation.jobs import kinds, state
from annotation.jobs.kind import JobKind
from annotation.jobs.reaper import reap
from annotation.jobs.run_id import run_id
from annotation.jobs.work import work_on
from annotation.live.stage_status import stage_context
from annotation.messages import message_text
from annotation.models import Project, Stage
from mlcore.errors import ModelUnavailableError, StoppedError
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


# --- Taking up and ending ---------------------------------------------------------------------------------------------


def test_work_that_ends_well_is_done_and_what_was_reported_last_is_stored(stage: Stage) -> None:
    with work_on(stage.pk) as job:
        assert job is not None
        assert fresh(stage).status == Stage.Status.RUNNING
        job.progress.report(done=3, phase="labeling", detail=replace(job.progress.detail, kept=1), force=True)
        job.progress.report(done=10, detail=replace(job.progress.detail, cached=2), tokens_in=70)
    after = fresh(stage)
    assert (after.status, after.done, after.phase, after.tokens_in) == (Stage.Status.DONE, 10, "labeling", 70)
    assert after.detail == {"kept": 1, "cached": 2}
    assert after.lease_until is None
    assert after.finished_at is not None
    assert after.seconds > 0


def test_the_row_is_not_written_for_every_report(stage: Stage, django_assert_num_queries: Any) -> None:
    with work_on(stage.pk) as job:
        assert job is not None
        job.progress.report(done=0, force=True)
        with django_assert_num_queries(0):
            for done in range(1, 10):
                job.progress.report(done=done)


def test_of_two_runs_started_at_the_same_moment_one_is_refused_in_a_sentence(stage: Stage) -> None:
    with pytest.raises(BusyError, match="Another job of this project is running"):
        state.create_stage(stage.project, kinds.RESTORE, user=None)
    with pytest.raises(BusyError, match="Somebody was faster"):
        state.create_stage(stage.project, kinds.IMPORT, user=None, busy="Somebody was faster.")
    assert Stage.objects.count() == 1
    assert messages_for(stage) == 0, "no worker is woken for a stage that was refused"


@pytest.mark.parametrize(("kind", "others"), [(kinds.TRIAL, 0), (kinds.EXPORT, 1), (kinds.BULK, 1)])
def test_a_kind_excludes_those_of_its_group_alone(stage: Stage, kind: JobKind, others: int) -> None:
    state.create_stage(stage.project, kind, user=None)
    for _second in range(others):
        state.create_stage(stage.project, kind, user=None)
    assert Stage.objects.filter(kind=kind.key).count() == 1 + others
    if not others:
        with pytest.raises(BusyError):
            state.create_stage(stage.project, kind, user=None)


def test_a_piece_of_a_worker_that_lost_the_stage_is_not_written(stage: Stage) -> None:
    with work_on(stage.pk) as job:
        assert job is not None
        with job.lease.piece():
            Project.objects.update(name="First piece")
        Stage.objects.filter(pk=stage.pk).update(attempt=F("attempt") + 1)
        with pytest.raises(LeaseLostError), job.lease.piece():
            Project.objects.update(name="Second piece")
    assert Project.objects.get().name == "First piece"


def test_five_messages_at_once_make_one_run(stage: Stage) -> None:
    barrier, claims = threading.Barrier(5), []

    def take() -> None:
        barrier.wait()
        with work_on(stage.pk) as job:
            if job:
                claims.append(job.lease.attempt)
                time.sleep(0.2)
        connection.close()

    threads = [threading.Thread(target=take) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert claims == [1]
    assert fresh(stage).status == Stage.Status.DONE


@pytest.mark.parametrize(
    "status", [Stage.Status.PAUSED, Stage.Status.CANCELLED, Stage.Status.FAILED, Stage.Status.DONE]
)
def test_a_stage_that_is_not_queued_is_left_alone(stage: Stage, status: str) -> None:
    Stage.objects.filter(pk=stage.pk).update(status=status)
    with work_on(stage.pk) as job:
        assert job is None
    assert fresh(stage).status == status


def test_a_stage_that_was_deleted_is_nothing_to_do() -> None:
    with work_on(404) as job:
        assert job is None


@pytest.mark.parametrize(
    "error", [InvalidFileError("Row 3 is broken. Mend it."), ModelUnavailableError("No such model.")]
)
def test_an_error_with_a_sentence_fails_the_stage_with_that_sentence(stage: Stage, error: Exception) -> None:
    with work_on(stage.pk):
        stop(error)
    assert (fresh(stage).status, fresh(stage).error) == (Stage.Status.FAILED, str(error))


def test_an_unexpected_error_is_told_in_general_and_its_traceback_stays_in_the_log(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    with work_on(stage.pk):
        stop(ZeroDivisionError("secret internals"))
    after = fresh(stage)
    assert after.status == Stage.Status.FAILED
    assert "secret" not in message_text(after.error)
    assert str(stage.run_id)[:8] in message_text(after.error)
    assert "ZeroDivisionError: secret internals" in caplog.text


def test_an_error_of_the_database_has_the_stage_tried_again(stage: Stage) -> None:
    with work_on(stage.pk):
        stop(OperationalError("database is locked"))
    assert fresh(stage).status == Stage.Status.RUNNING
    let_lease_run_out(stage)
    assert reap() == 1
    assert fresh(stage).status == Stage.Status.QUEUED


def test_log_records_carry_the_run_only_while_it_is_at_work(stage: Stage) -> None:
    with work_on(stage.pk):
        assert run_id.get() == str(stage.run_id)
    assert run_id.get() == ""


FOLLOW = kinds.LLM.follow


def test_what_follows_is_made_together_with_the_end(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def make_next(ended: Stage) -> None:
        assert connection.in_atomic_block
        assert (ended.pk, ended.status) == (stage.pk, Stage.Status.DONE)
        state.create_stage(ended.project, kinds.SLM, user=None)

    monkeypatch.setattr(FOLLOW, make_next)
    with work_on(stage.pk):
        pass
    assert set(Stage.objects.values_list("kind", "status")) == {("llm", "done"), ("slm", "queued")}


def test_a_crash_before_what_follows_is_made_leaves_the_end_undone_too(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(ended: Stage) -> None:
        state.create_stage(ended.project, kinds.SLM, user=None)
        raise OperationalError("the database went away")

    monkeypatch.setattr(FOLLOW, crash)
    with pytest.raises(OperationalError), work_on(stage.pk):
        pass
    assert list(Stage.objects.values_list("kind", "status")) == [("llm", "running")]


@pytest.mark.parametrize("error", [None, StoppedError(), NotReadyError("No rows.")])
def test_nothing_follows_a_stage_that_was_not_done(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    followed: list[int] = []
    monkeypatch.setattr(FOLLOW, lambda ended: followed.append(ended.pk))
    with work_on(stage.pk):
        if error:
            stop(error)
    assert followed == ([] if error else [stage.pk])


def test_what_could_not_follow_is_told_where_the_stage_is_shown(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(ended: Stage) -> None:
        raise NotReadyError("The LLM has labelled nothing yet.")

    monkeypatch.setattr(FOLLOW, refuse)
    with work_on(stage.pk):
        pass
    assert fresh(stage).status == Stage.Status.DONE
    shown = render_to_string("annotation/jobs/_stage_progress.html", stage_context(fresh(stage)))
    assert "The next step could not be started: The LLM has labelled nothing yet." in shown
    state.create_stage(stage.project, kinds.SLM, user=None)
    assert stage_context(fresh(stage))["not_followed"] == "", "somebody started it"


# --- What people request ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_stop", "status"),
    [(state.request_pause, Stage.Status.PAUSED), (state.request_cancel, Stage.Status.CANCELLED)],
)
@pytest.mark.usefixtures("_quick")
def test_a_running_stage_stops_as_it_was_requested(stage: Stage, request_stop: Any, status: str) -> None:
    with work_on(stage.pk) as job:
        assert job is not None
        assert not job.lease.should_stop()
        request_stop(stage)
        assert fresh(stage).status == Stage.Status.RUNNING, "the worker ends it, after its batch"
        assert job.lease.should_stop()
        stop()
    assert (fresh(stage).status, fresh(stage).requested_action, fresh(stage).error) == (status, "", "")


@pytest.mark.parametrize(
    ("request_stop", "status"),
    [(state.request_pause, Stage.Status.PAUSED), (state.request_cancel, Stage.Status.CANCELLED)],
)
def test_a_waiting_stage_stops_at_once(stage: Stage, request_stop: Any, status: str) -> None:
    request_stop(stage)
    assert stage.status == status
    with work_on(stage.pk) as job:
        assert job is None


@pytest.mark.parametrize(
    ("request_stop", "status"),
    [(state.request_pause, Stage.Status.PAUSED), (state.request_cancel, Stage.Status.CANCELLED)],
)
def test_a_stage_whose_worker_is_dead_stops_at_once(stage: Stage, request_stop: Any, status: str) -> None:
    with work_on(stage.pk) as job:
        assert job is not None
        let_lease_run_out(stage)
        request_stop(stage)
        assert fresh(stage).status == status
        with pytest.raises(LeaseLostError), transaction.atomic():
            job.lease.fence()
    assert fresh(stage).status == status


def test_a_cancel_is_not_softened_to_a_pause(stage: Stage) -> None:
    with work_on(stage.pk):
        state.request_cancel(stage)
        state.request_pause(stage)
        stop()
    assert fresh(stage).status == Stage.Status.CANCELLED


def test_a_paused_stage_can_be_cancelled(stage: Stage) -> None:
    state.request_pause(stage)
    state.request_cancel(stage)
    assert stage.status == Stage.Status.CANCELLED


def test_a_request_comes_too_late_for_a_stage_that_has_ended(stage: Stage) -> None:
    with work_on(stage.pk):
        pass
    state.request_pause(stage)
    state.request_cancel(stage)
    assert (stage.status, stage.requested_action) == (Stage.Status.DONE, "")


@pytest.mark.parametrize("status", [Stage.Status.PAUSED, Stage.Status.CANCELLED, Stage.Status.FAILED])
def test_a_stopped_stage_can_be_resumed_and_its_deaths_are_forgotten(stage: Stage, status: str) -> None:
    Stage.objects.filter(pk=stage.pk).update(status=status, crashes=3, error="It died.", done=4)
    state.resume(stage)
    assert (stage.status, stage.crashes, stage.error, stage.done) == (Stage.Status.QUEUED, 0, "", 4)
    assert messages_for(stage) == 1


def test_a_stage_is_not_resumed_beside_another_one_of_its_project(stage: Stage) -> None:
    state.request_cancel(stage)
    state.create_stage(stage.project, kinds.LLM, user=None)
    with pytest.raises(BusyError, match="Another job of this project is running"):
        state.resume(stage)
    assert fresh(stage).status == Stage.Status.CANCELLED


def test_a_pause_that_was_not_seen_yet_can_be_taken_back(stage: Stage) -> None:
    with work_on(stage.pk):
        state.request_pause(stage)
        state.resume(stage)
    assert fresh(stage).status == Stage.Status.DONE


# --- The broker is a hint ---------------------------------------------------------------------------------------------


def test_a_worker_is_woken_only_when_the_stage_is_committed(stage: Stage) -> None:
    with transaction.atomic():
        state.submit(stage)
        assert messages_for(stage) == 0
    assert messages_for(stage) == 1


def test_a_broker_that_is_away_is_no_error(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    import redis

    with patch.object(type(dramatiq.get_broker()), "enqueue", side_effect=redis.ConnectionError("refused")):
        state.submit(stage)
    assert "waits in the database" in caplog.text
    assert fresh(stage).status == Stage.Status.QUEUED


def test_pages_that_can_not_be_told_cost_the_run_nothing(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(*_: Any) -> None:
        raise OSError("no broker")

    with patch("channels.layers.InMemoryChannelLayer.group_send", refuse), work_on(stage.pk) as job:
        assert job is not None
        job.progress.report(done=5, force=True)
    assert fresh(stage).status == Stage.Status.DONE
    assert "could not be told" in caplog.text
