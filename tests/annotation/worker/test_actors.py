from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import dramatiq
import pytest
from django.conf import settings
from django.contrib.auth.models import User

from annotation.jobs import kinds, state, turns
from annotation.jobs.broker import ACTOR
from annotation.jobs.kind import JobKind
from annotation.jobs.work import Job
from annotation.models import Project, Stage
from annotation.worker import actors
from mlcore.errors import ModelUnavailableError


@pytest.fixture
def worker() -> Iterator[dramatiq.Worker]:
    worker = dramatiq.Worker(dramatiq.get_broker(), worker_timeout=50, worker_threads=4)
    worker.start()
    yield worker
    worker.stop()
    dramatiq.get_broker().flush_all()


def make_stage(kind: JobKind) -> Stage:
    owner, _made = User.objects.get_or_create(username="olga")
    return Stage.objects.create(project=Project.objects.create(name="Letters", owner=owner), kind=kind.key)


def finish(worker: dramatiq.Worker, stage: Stage) -> Stage:
    for queue in turns.queues():
        dramatiq.get_broker().join(queue)
    worker.join()
    return Stage.objects.get(pk=stage.pk)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", kinds.KINDS.values(), ids=list(kinds.KINDS))
def test_a_submitted_stage_reaches_its_step_of_the_pipeline(
    kind: JobKind, worker: dramatiq.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def step(job: Job[Any]) -> None:
        seen.append(job.stage.pk)
        job.progress.report(done=1, total=1)

    monkeypatch.setattr(kind.run, step)
    monkeypatch.setitem(kinds.KINDS, kind.key, replace(kind, follow=""))
    stage = make_stage(kind)
    state.submit(stage)
    stage = finish(worker, stage)
    assert seen == [stage.pk]
    assert (stage.status, stage.done) == (Stage.Status.DONE, 1)


@pytest.mark.django_db(transaction=True)
def test_five_messages_for_one_stage_make_one_run(
    worker: dramatiq.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(kinds.LLM.run, lambda job: seen.append(job.lease.attempt))
    stage = make_stage(kinds.LLM)
    for _ in range(5):
        state.submit(stage)
    assert finish(worker, stage).status == Stage.Status.DONE
    assert seen == [1]


@pytest.mark.django_db(transaction=True)
def test_a_step_that_fails_leaves_the_worker_at_work(
    worker: dramatiq.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(job: Job[Any]) -> None:
        if job.stage.pk == broken.pk:
            raise ModelUnavailableError("There is no such model. Choose another.")

    monkeypatch.setattr(kinds.LLM.run, step)
    broken, sound = make_stage(kinds.LLM), make_stage(kinds.LLM)
    state.submit(broken)
    state.submit(sound)
    assert finish(worker, broken).status == Stage.Status.FAILED
    assert finish(worker, sound).status == Stage.Status.DONE


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("name", "queue", "kind"),
    [
        ("label_corpus", "llm", kinds.LLM),
        ("try_rows", "llm", kinds.TRIAL),
        ("train_student", "slm", kinds.SLM),
        ("import_file", "files", kinds.IMPORT),
        ("export_file", "files", kinds.EXPORT),
        ("correct_rows", "files", kinds.BULK),
        ("restore_round", "files", kinds.RESTORE),
        ("delete_project", "files", kinds.DELETION),
    ],
)
def test_a_message_that_an_earlier_version_queued_is_answered(
    name: str, queue: str, kind: JobKind, worker: dramatiq.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(kind.run, lambda job: seen.append(job.stage.pk))
    monkeypatch.setitem(kinds.KINDS, kind.key, replace(kind, follow=""))
    stage = make_stage(kind)
    old = {"queue_name": queue, "actor_name": name, "args": [stage.pk], "kwargs": {}, "options": {}}
    stored = json.dumps({**old, "message_id": str(uuid4()), "message_timestamp": 1_763_800_000_000})
    dramatiq.get_broker().enqueue(dramatiq.Message.decode(stored.encode()))
    assert finish(worker, stage).status == Stage.Status.DONE
    assert seen == [stage.pk]


def test_every_queue_is_known_to_the_worker_and_nothing_is_retried_by_the_broker() -> None:
    broker = dramatiq.get_broker()
    assert set(turns.queues()) <= broker.get_declared_queues()
    for name in (ACTOR, *actors.OLD_NAMES):
        assert broker.get_actor(name).options["max_retries"] == 0


HEAVY = ("torch", "transformers", "sklearn", "scipy")


def modules_loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=settings.BASE_DIR, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_the_web_process_loads_no_model_code(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORAL_DATA_DIR", str(tmp_path))
    loaded = modules_loaded_by("import coral_site.asgi, coral_site.urls, annotation.jobs.state")
    assert "django" in loaded
    assert not loaded & set(HEAVY)


def test_a_worker_that_waits_loads_no_model_code(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORAL_DATA_DIR", str(tmp_path))
    loaded = modules_loaded_by(
        "import os, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'coral_site.settings'; django.setup()\n"
        "import annotation.worker.actors, annotation.management.commands.worker"
    )
    assert "dramatiq" in loaded
    assert not loaded & set(HEAVY)
