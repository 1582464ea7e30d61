"""The features of a large corpus are computed in parts by any worker, and the training finds them all in the cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from annotation.jobs import parts
from annotation.jobs.reaper import reap
from annotation.jobs.work import run_stage, take_up
from annotation.messages import message, message_text
from annotation.models import Stage
from annotation.pipeline.distill import feature_parts, run_distillation, start_distillation
from annotation.pipeline.label import run_labeling
from mlcore.distill.folder import EXIT_ERROR
from mlcore.errors import StoppedError
from tests.support.factories import (
    ScriptedModel,
    judge_sentiment,
    make_project,
    run_llm_stage,
    start_llm_round,
)
from tests.support.machines import Machines
from tests.support.stages import fresh, let_lease_run_out

pytestmark = pytest.mark.django_db(transaction=True)
ROWS, TEXTS_OF_PART = 60, 25
RANGES = [(0, 25), (25, 50), (50, 60)]


@pytest.fixture
def stage(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A filtering that waits, of a corpus that counts as large."""
    settings.RUN_DIR, settings.CACHE_DIR = tmp_path / "runs", tmp_path / "cache"
    monkeypatch.setattr(feature_parts, "PART_TEXTS", TEXTS_OF_PART)
    monkeypatch.setattr(feature_parts, "LEAST_ROWS", ROWS)
    monkeypatch.setattr(parts, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(run_labeling, "open_model", lambda *args, **kwargs: ScriptedModel(judge_sentiment))
    project = make_project(rows=ROWS)
    project.slm_settings |= {"encoder": "all-minilm-l6-v2", "epochs": 2, "warmup_epochs": 1}
    project.save()
    iteration = run_llm_stage(start_llm_round(project)).iteration
    assert iteration
    return start_distillation.start_filtering(iteration, user=project.owner)


class ScriptedEncoder:
    """In place of the process that encodes; ``started``: with which numbers."""

    def __init__(self) -> None:
        self.started: list[tuple[int, ...]] = []

    def __call__(
        self,
        job: Any,
        folder: Path,
        module: str,
        *numbers: str,
        on_event: Callable[[Any], None],
        **_more: Any,
    ) -> int:
        self.started.append(tuple(map(int, numbers)))
        on_event({"ranges": RANGES} if len(numbers) == 1 else {"batch": 1, "batches": 2})
        return 0


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> ScriptedEncoder:
    """The training behind it is stopped at once."""

    def stop(*_arguments: Any, **_more: Any) -> None:
        raise StoppedError

    made = ScriptedEncoder()
    monkeypatch.setattr(feature_parts, "run_child", made)
    monkeypatch.setattr(run_distillation, "run_training", stop)
    return made


def test_a_training_reads_what_its_parts_have_encoded(stage: Stage, settings: Any) -> None:
    run_stage(stage.pk)

    stage = fresh(stage)
    assert stage.status == Stage.Status.DONE, message_text(stage.error)
    assert (stage.done, stage.parts.count()) == (ROWS, 0)
    features = list(Path(settings.CACHE_DIR).rglob("*.features.npy"))
    assert len(features) == len(RANGES), "the training has encoded nothing itself"


def test_features_that_other_machines_computed_are_brought(
    stage: Stage, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = Machines(settings, tmp_path)
    machines.go_to("trainer")
    encode = feature_parts.run_part

    def encode_elsewhere(job: Any) -> None:
        machines.go_to("encoder")
        encode(job)
        machines.go_to("trainer")

    monkeypatch.setattr(feature_parts, "run_part", encode_elsewhere)
    run_stage(stage.pk)

    stage = fresh(stage)
    assert stage.status == Stage.Status.DONE, message_text(stage.error)
    computed, brought = (
        sorted(path.name for path in (tmp_path / name).rglob("*.keys.npy")) for name in ("encoder", "trainer")
    )
    assert len(computed) == len(RANGES)
    assert computed == brought, "the training has encoded nothing itself"


def test_another_worker_takes_a_part_and_none_is_encoded_twice(
    stage: Stage, encoder: ScriptedEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def encode_beside_another(job: Any, *arguments: Any, **more: Any) -> int:
        waiting = stage.parts.filter(status=Stage.Status.QUEUED).last()
        if job.stage.parent and waiting:
            run_stage(waiting.pk)
        code = encoder(job, *arguments, **more)
        seen.append(fresh(stage).done)
        return code

    monkeypatch.setattr(feature_parts, "run_child", encode_beside_another)
    run_stage(stage.pk)

    assert encoder.started[0] == (TEXTS_OF_PART,)
    assert sorted(encoder.started[1:]) == RANGES
    assert seen == sorted(seen)
    assert 0 < seen[-1] < ROWS * 0.4, "the features are the first part of the bar"


def test_a_part_whose_worker_died_is_encoded_by_another(
    stage: Stage, encoder: ScriptedEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_one(job: Any, *arguments: Any, **more: Any) -> int:
        last = stage.parts.order_by("pk").last()
        if job.stage.parent and last and last.attempt == 0:
            assert take_up(last.pk)
            let_lease_run_out(last)
            assert reap() == 1
        return encoder(job, *arguments, **more)

    monkeypatch.setattr(feature_parts, "run_child", lose_one)
    run_stage(stage.pk)
    assert sorted(encoder.started[1:]) == RANGES


def test_what_is_encoded_is_not_cut_again(stage: Stage, encoder: ScriptedEncoder) -> None:
    run_stage(stage.pk)
    begun = len(encoder.started)
    Stage.objects.filter(pk=stage.pk).update(status=Stage.Status.QUEUED)
    run_stage(stage.pk)
    assert len(encoder.started) == begun


def test_the_whole_fails_with_the_sentence_of_its_part(
    stage: Stage, encoder: ScriptedEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(job: Any, *arguments: Any, on_event: Callable[[Any], None], **more: Any) -> int:
        if not job.stage.parent:
            return encoder(job, *arguments, on_event=on_event, **more)
        on_event({"error": message("The encoder is broken.").as_json()})
        return EXIT_ERROR

    monkeypatch.setattr(feature_parts, "run_child", fail)
    run_stage(stage.pk)
    stage = fresh(stage)
    assert (stage.status, message_text(stage.error)) == (Stage.Status.FAILED, "The encoder is broken.")
    waiting = (Stage.Status.QUEUED, Stage.Status.RUNNING)
    assert not stage.parts.filter(status__in=waiting).exists()
