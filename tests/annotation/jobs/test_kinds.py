from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, get_args

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation
from django.utils.module_loading import import_string

import annotation.pipeline
from annotation.jobs import kinds, state
from annotation.jobs.kind import JobKind
from annotation.jobs.reaper import reap
from annotation.jobs.work import Job, run_stage
from annotation.live.stage_status import stage_context
from annotation.models import Iteration, Project, Stage
from annotation.templatetags.coral import stage_words
from mlcore.corpus import Phase

KINDS = list(kinds.KINDS.values())


def count_words(job: Job[Any]) -> None:
    words = sum(len(sample.text.split()) for sample in job.stage.project.samples.all())
    job.progress.report(phase="counting", done=words, total=words)


@pytest.fixture
def project() -> Project:
    return Project.objects.create(name="Letters", owner=User.objects.create_user("olga"))


def make_kind(monkeypatch: pytest.MonkeyPatch) -> JobKind:
    kind = JobKind(
        key="count",
        name="Word count",
        queue="files",
        run=f"{__name__}.count_words",
        page="export",
        phases={"counting": "Counting the words."},
    )
    monkeypatch.setitem(kinds.KINDS, kind.key, kind)
    return kind


@pytest.mark.django_db
def test_a_new_kind_is_one_entry_and_one_function(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = make_kind(monkeypatch)
    project.samples.create(project=project, position=0, text="five words stand in here", fields=[])
    stage = state.create_stage(project, kind, user=None)
    state.create_stage(project, kind, user=None)
    run_stage(stage.pk)
    stage.refresh_from_db()
    assert (stage.status, stage.done) == (Stage.Status.DONE, 5)
    assert "Word count" in render_to_string("annotation/jobs/_stage_progress.html", stage_context(stage))
    stage.status = Stage.Status.RUNNING
    assert stage_words(stage) == "Counting the words."


@pytest.mark.django_db
def test_a_kind_of_a_newer_version_is_shown_by_its_key_and_left_to_that_version(
    project: Project, settings: pytest.FixtureRequest
) -> None:
    stage = Stage.objects.create(project=project, kind="summary")
    assert kinds.kind_name(stage) == "summary"
    assert "summary" in render_to_string("annotation/jobs/_stage_progress.html", stage_context(stage))
    Stage.objects.update(queued_at="2026-01-01T00:00:00Z")
    assert reap() == 0


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.key)
def test_what_a_kind_names_is_there(kind: JobKind) -> None:
    assert callable(import_string(kind.run))
    assert not kind.follow or callable(import_string(kind.follow))
    assert reverse(f"annotation:{kind.page}", args=[1])
    assert len(kind.key) <= 20
    assert len(kind.exclusive_group) <= 20
    assert kind.sentences.keys() <= {*Stage.Status.values, "pausing", "cancelling"}


def test_a_round_starts_from_kinds_that_are_there() -> None:
    assert {kinds.LLM.key, kinds.SLM.key} == set(Iteration.Start.values)


def phases_in_the_pipeline() -> set[str]:
    """Every phase that a step of the pipeline names when it reports."""
    found: set[str] = set()
    for path in Path(annotation.pipeline.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            named = [word.value for word in node.keywords if word.arg == "phase"]
            if isinstance(node.func, ast.Attribute) and node.func.attr == "begin_phase":
                named.append(node.args[0])
            found |= {str(value.value) for value in named if isinstance(value, ast.Constant)}
    return found - {""}


def test_every_phase_that_is_reported_has_words_in_both_languages() -> None:
    words = {phase: sentence for kind in KINDS for phase, sentence in kind.phases.items()}
    reported = phases_in_the_pipeline()
    assert {"labeling", "self-annotation", "reading", "saving"} <= reported
    assert set(get_args(Phase)) <= set(kinds.SLM.phases)
    assert reported <= set(words)
    for phase, sentence in words.items():
        with translation.override("en"):
            english = str(sentence)
        with translation.override("zh-hans"):
            assert str(sentence) != english, phase


def test_only_one_place_makes_stages() -> None:
    """Whatever else made one would forget its exclusive group, and two runs could be at work at once."""
    makers = {"Stage.objects.create", "stages.create", "Stage("}
    for path in (settings.BASE_DIR / "annotation").rglob("*.py"):
        if path.name != "state.py" and "migrations" not in path.parts and path.name != "round.py":
            assert not any(maker in path.read_text() for maker in makers), path
