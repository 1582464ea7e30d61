from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from channels.layers import get_channel_layer
from django.contrib.auth.models import User
from django.db import transaction
from django.template.loader import render_to_string
from dramatiq.asyncio import EventLoopThread, set_event_loop_thread

from annotation.jobs import kinds, notify
from annotation.live import stage_status
from annotation.models import Iteration, Project, Stage
from annotation.templatetags.coral import stage_words
from tests.support.pages import one_line

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def stage() -> Stage:
    project = Project.objects.create(name="Letters", owner=User.objects.create_user("olga"))
    return Stage.objects.create(project=project, kind=kinds.LLM.key, total=10)


class Sent:
    """What was sent to groups, and on which thread."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.threads: list[str] = []
        self.arrived = threading.Event()

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self.messages.append((group, message))
        self.threads.append(threading.current_thread().name)
        self.arrived.set()


@pytest.fixture
def sent() -> Iterator[Sent]:
    sent = Sent()
    with patch.object(get_channel_layer(), "group_send", sent.group_send):
        yield sent


@pytest.fixture
def worker_loop() -> Iterator[EventLoopThread]:
    """The event loop that a worker process has."""
    thread = EventLoopThread(logging.getLogger("test"))
    thread.name = "worker-loop"
    thread.start(timeout=5)
    set_event_loop_thread(thread)
    yield thread
    set_event_loop_thread(None)
    thread.stop()


def test_a_notification_says_only_that_the_row_changed(stage: Stage, sent: Sent) -> None:
    notify.notify_pages(stage)
    groups = [f"stage.{stage.pk}", f"project.{stage.project_id}"]
    assert sent.messages == [(group, {"type": "stage.changed"}) for group in groups]


def test_a_notification_waits_for_the_commit(stage: Stage, sent: Sent) -> None:
    with transaction.atomic():
        notify.notify_pages(stage)
        assert sent.messages == []
    assert len(sent.messages) == 2


def test_a_worker_sends_from_its_own_loop_and_does_not_wait(
    stage: Stage, sent: Sent, worker_loop: EventLoopThread
) -> None:
    notify.notify_pages(stage)
    assert sent.arrived.wait(5)
    assert set(sent.threads) == {"worker-loop"}


def test_a_broker_that_hangs_does_not_hold_up_a_worker(
    stage: Stage,
    worker_loop: EventLoopThread,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import asyncio
    import time

    async def hang(*_: Any) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(notify, "SEND_SECONDS", 0.2)
    with patch.object(get_channel_layer(), "group_send", hang):
        begun = time.monotonic()
        notify.notify_pages(stage)
        assert time.monotonic() - begun < 0.1
        time.sleep(0.5)
    assert f"Pages could not be told that stage.{stage.pk} changed: TimeoutError" in caplog.text


def test_the_context_has_rate_and_time_left(stage: Stage) -> None:
    stage.status, stage.done, stage.seconds = Stage.Status.DONE, 10, 5.0
    context = stage_status.stage_context(stage)
    assert context["stage"] is stage
    assert context["project"] == stage.project
    assert context["rate"] == 2.0
    assert context["seconds_left"] == 0.0


def test_the_rate_leaves_out_rows_that_kept_their_answer(stage: Stage) -> None:
    stage.status, stage.done, stage.seconds, stage.detail = Stage.Status.DONE, 10, 4.0, {"kept": 8}
    assert stage_status.stage_context(stage)["rate"] == 0.5


@pytest.mark.parametrize(
    ("done", "words"), [(10, "Every row has an answer."), (9, "All rows are processed.")]
)
def test_a_finished_run_says_that_rows_have_answers_only_if_all_have(
    stage: Stage, done: int, words: str
) -> None:
    stage.status, stage.done = Stage.Status.DONE, done
    assert stage_words(stage) == words


@pytest.mark.parametrize(
    ("unreadable", "words"),
    [
        (10, "No answer could be read as a label"),
        (3, "All rows are processed; 3 answers could not be read as a label."),
        (1, "All rows are processed; 1 answer could not be read as a label."),
    ],
)
def test_a_finished_run_says_how_many_answers_hold_no_label(
    stage: Stage, unreadable: int, words: str
) -> None:
    stage.status, stage.done = Stage.Status.DONE, 10
    stage.iteration = Iteration(project=stage.project, metrics={"llm": {"unreadable": unreadable}})
    assert words in stage_words(stage)


def test_counts_of_thousands_are_grouped_everywhere_on_the_card(stage: Stage) -> None:
    stage.kind, stage.status, stage.done, stage.total = kinds.IMPORT.key, Stage.Status.DONE, 2000, 2000
    stage.seconds = 0.1
    html = render_to_string("annotation/jobs/_stage_progress.html", stage_status.stage_context(stage))
    assert "2,000 rows were read." in html
    assert "20,000 rows per second" in html


def test_going_back_to_a_round_does_not_speak_of_rows_that_were_read(stage: Stage) -> None:
    stage.kind, stage.status, stage.done = kinds.RESTORE.key, Stage.Status.DONE, 10
    assert stage_words(stage) == (
        "The rows have that round's labels again. Corrections by people are unchanged."
    )


@pytest.mark.parametrize(
    ("kind", "status", "done", "words"),
    [
        (kinds.LLM.key, Stage.Status.CANCELLED, 5, "Finished work is kept"),
        (kinds.IMPORT.key, Stage.Status.PAUSED, 5, "Finished work is kept"),
        (kinds.IMPORT.key, Stage.Status.CANCELLED, 0, "No row of this file was imported"),
        (kinds.IMPORT.key, Stage.Status.FAILED, 0, "no row of this file was imported"),
        (kinds.IMPORT.key, Stage.Status.FAILED, 5, "Finished work is kept"),
        (kinds.EXPORT.key, Stage.Status.PAUSED, 5, "Partial files are not kept"),
        (kinds.EXPORT.key, Stage.Status.CANCELLED, 5, "No file was created"),
        (kinds.EXPORT.key, Stage.Status.FAILED, 5, "no file was created"),
    ],
)
def test_what_is_said_to_be_kept_of_a_broken_off_stage_is_kept(
    stage: Stage, kind: str, status: Stage.Status, done: int, words: str
) -> None:
    stage.kind, stage.status, stage.done = kind, status, done
    assert words in stage_words(stage)


def test_an_import_that_is_being_cancelled_says_that_its_rows_go(stage: Stage) -> None:
    stage.kind, stage.status, stage.requested_action = (
        kinds.IMPORT.key,
        Stage.Status.RUNNING,
        Stage.RequestedAction.CANCEL,
    )
    assert "Removing the rows of this file" in stage_words(stage)


@pytest.mark.parametrize(("epoch", "words"), [(11, "11 epochs"), (1, "1 epoch"), (12, "epoch 12 of 12")])
def test_a_training_that_ended_early_says_how_many_epochs_it_took(
    stage: Stage, epoch: int, words: str
) -> None:
    stage.kind, stage.status, stage.epoch, stage.epochs = kinds.SLM.key, Stage.Status.DONE, epoch, 12
    html = render_to_string("annotation/jobs/_stage_progress.html", stage_status.stage_context(stage))
    assert f">{words}<" in one_line(html)


def test_what_is_asked_before_the_rows_is_counted_in_questions(stage: Stage) -> None:
    stage.status, stage.phase = Stage.Status.RUNNING, "self-annotation"
    stage.detail = {"phase_done": 178, "phase_total": 200}
    html = render_to_string("annotation/jobs/_stage_progress.html", stage_status.stage_context(stage))
    assert "178 of 200 questions asked." in html
