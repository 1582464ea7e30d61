"""The keys of the data folder: a lost one costs the secrets that it kept, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as site
from django.db import connection

from annotation.errors import AnnotationError
from annotation.jobs.work import run_stage
from annotation.messages import message_text
from annotation.models import Project, Stage
from annotation.models.secret import readable
from annotation.pipeline.iterate import start_round
from annotation.pipeline.project import configure
from tests.support.pages import Cast, judge_rows, make_cast

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = "hf_canary-token"


@pytest.fixture
def cast(settings: Any) -> Cast:
    """A project that is done with its first round, with a token that the key at hand can't decrypt any more."""
    settings.TOKEN_KEYS = ["the key"]
    cast = make_cast()
    judge_rows(cast.project)
    configure.set_llm(cast.project, config=replace(cast.project.llm_config, kind="hub"), token=TOKEN)
    settings.TOKEN_KEYS = ["another key"]
    return cast


def again(cast: Cast) -> Project:
    return Project.objects.get(pk=cast.project.pk)


def stored(project: Project) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT llm_token FROM annotation_project WHERE id = %s", [project.pk])
        return str(cursor.fetchone()[0])


def test_a_lost_key_leaves_every_page_open_and_says_what_to_do(cast: Cast) -> None:
    for path in ("review/", "focus/", "export/", "rounds/", "configure/task/", "members/"):
        assert cast.client("owner").get(cast.url(path)).status_code == 200, path
    models = cast.client("owner").get(cast.url("configure/models/")).content.decode()
    assert "decrypted with the available keys; enter it again" in models
    with pytest.raises(AnnotationError, match=r"Restore token\.key"):
        start_round.start_round(again(cast), started_from="llm", user=None)


@pytest.mark.parametrize("step", ["llm", "slm"])
def test_a_run_that_needs_a_lost_token_fails_with_a_sentence_and_asks_nobody(
    cast: Cast, settings: Any, step: str
) -> None:
    settings.TOKEN_KEYS = ["the key"]
    stage = start_round.start_round(again(cast), started_from=step, user=None).stages.get()
    settings.TOKEN_KEYS = ["another key"]
    run_stage(stage.pk)
    stage.refresh_from_db()
    assert stage.status == Stage.Status.FAILED
    assert "enter the token again" in message_text(stage.error)


def test_what_is_saved_meanwhile_keeps_the_token_for_when_the_key_is_back(cast: Cast, settings: Any) -> None:
    before = stored(cast.project)
    project = again(cast)
    configure.set_task(project, name="Another name", task_type=project.task_type)
    configure.set_llm(project, config=project.llm_config, token=None)
    assert stored(project) == before
    settings.TOKEN_KEYS = ["the key"]
    assert readable(again(cast).llm_token) == TOKEN


def test_after_a_rotation_old_tokens_are_read_and_new_ones_need_the_new_key_only(settings: Any) -> None:
    settings.TOKEN_KEYS = ["old"]
    project = make_cast().project
    configure.set_llm(project, config=project.llm_config, token=TOKEN)
    settings.TOKEN_KEYS = ["new", "old"]
    project.refresh_from_db()
    assert readable(project.llm_token) == TOKEN
    configure.set_llm(project, config=project.llm_config, token=TOKEN)
    settings.TOKEN_KEYS = ["new"]
    project.refresh_from_db()
    assert readable(project.llm_token) == TOKEN


def start(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CORAL_DATA_DIR": str(folder)}
    for name in ("CORAL_TOKEN_KEYS", "CORAL_SECRET_KEY"):
        environment.pop(name, None)
    code = "from coral_site.settings import SECRET_KEY, TOKEN_KEYS; print(SECRET_KEY, *TOKEN_KEYS)"
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=site.BASE_DIR, capture_output=True, text=True
    )


def test_keys_are_made_once_and_a_file_that_was_cut_off_empty_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "token.key").touch()
    first, second = start(tmp_path), start(tmp_path)
    keys = first.stdout.split()
    assert (len(keys), len(set(keys)), min(map(len, keys))) == (2, 2, 64)
    assert second.stdout == first.stdout
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("secret.key",)} == {0o600}


def test_a_data_folder_that_can_not_be_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    done = start(tmp_path / "data")
    assert "can't be made (File exists). Set CORAL_DATA_DIR" in done.stderr
