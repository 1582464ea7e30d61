from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest
from django.conf import settings
from django.contrib.auth.models import User

from annotation.jobs import state
from annotation.jobs.broker import QUEUES
from annotation.jobs.work import Job
from annotation.models import Project, Stage
from annotation.worker import actors
from mlcore.errors import ModelUnavailableError

STEPS = {
    Stage.Kind.LLM: "annotation.pipeline.label.run_labeling.run_labeling",
    Stage.Kind.SLM: "annotation.pipeline.distill.run_distillation.run_distillation",
    Stage.Kind.IMPORT: "annotation.pipeline.ingest.start_import.run_import",
    Stage.Kind.EXPORT: "annotation.pipeline.export.run_export.run_export",
    Stage.Kind.TRIAL: "annotation.pipeline.label.try_out.run_trial",
    Stage.Kind.BULK: "annotation.pipeline.review.bulk.run_batch",
    Stage.Kind.RESTORE: "annotation.pipeline.iterate.restore_round.run_restore",
    Stage.Kind.DELETION: "annotation.pipeline.project.archive.run_deletion",
}


@pytest.fixture
def worker() -> Iterator[dramatiq.Worker]:
    worker = dramatiq.Worker(dramatiq.get_broker(), worker_timeout=50, worker_threads=4)
    worker.start()
    yield worker
    worker.stop()
    dramatiq.get_broker().flush_all()


def make_stage(kind: str) -> Stage:
    owner, _made = User.objects.get_or_create(username="olga")
    return Stage.objects.create(project=Project.objects.create(name="Letters", owner=owner), kind=kind)


def finish(worker: dramatiq.Worker, stage: Stage) -> Stage:
    dramatiq.get_broker().join(QUEUES[Stage.Kind(stage.kind)][0])
    worker.join()
    return Stage.objects.get(pk=stage.pk)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", Stage.Kind.values)
def test_a_submitted_stage_reaches_its_step_of_the_pipeline(
    kind: Stage.Kind, worker: dramatiq.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def step(job: Job) -> None:
        seen.append(job.stage.pk)
        job.progress.report(done=1, total=1)

    monkeypatch.setattr(STEPS[kind], step)
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
    monkeypatch.setattr(STEPS[Stage.Kind.LLM], lambda job: seen.append(job.lease.attempt))
    stage = make_stage(Stage.Kind.LLM)
    for _ in range(5):
        state.submit(stage)
    assert finish(worker, stage).status == Stage.Status.DONE
    assert seen == [1]


@pytest.mark.django_db(transaction=True)
def test_a_step_that_fails_leaves_the_worker_at_work(
    worker: dramatiq.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(job: Job) -> None:
        if job.stage.pk == broken.pk:
            raise ModelUnavailableError("There is no such model. Choose another.")

    monkeypatch.setattr(STEPS[Stage.Kind.LLM], step)
    broken, sound = make_stage(Stage.Kind.LLM), make_stage(Stage.Kind.LLM)
    state.submit(broken)
    state.submit(sound)
    assert finish(worker, broken).status == Stage.Status.FAILED
    assert finish(worker, sound).status == Stage.Status.DONE


def test_every_kind_of_stage_has_an_actor_on_its_queue() -> None:
    for kind in Stage.Kind:
        queue, name = QUEUES[kind]
        assert getattr(actors, name).queue_name == queue


def test_no_actor_is_retried_by_the_broker() -> None:
    for _queue, name in QUEUES.values():
        assert getattr(actors, name).options["max_retries"] == 0


HEAVY = ("torch", "transformers", "sklearn", "scipy", "kmedoids")


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
