"""Limits of what all projects of one owner may hold and do at the same time."""

from __future__ import annotations

from typing import Any

import pytest

from annotation.errors import AnnotationError, BusyError, InvalidFileError
from annotation.jobs import kinds, state
from annotation.models import Stage, Upload
from annotation.pipeline.ingest import owner_limits
from tests.support.factories import make_project, make_user

pytestmark = pytest.mark.django_db


def test_rows_of_all_projects_of_an_owner_count(settings: Any) -> None:
    owner = make_user()
    project = make_project(rows=40, owner=owner)
    make_project(rows=30, owner=owner)
    make_project(rows=30, owner=make_user("piet"))
    settings.OWNER_ROWS = 100
    before = owner_limits.rows_of_owner(project)
    assert before == 70
    owner_limits.check_rows(before + 30)
    with pytest.raises(InvalidFileError, match=r"more than 100 rows, as many as one owner may have"):
        owner_limits.check_rows(before + 31)
    settings.OWNER_ROWS = 0
    owner_limits.check_rows(10**9)


def test_files_of_all_projects_of_an_owner_count(settings: Any) -> None:
    project = make_project(rows=0)
    Upload.objects.create(
        project=project, name="a", stored_name="a", size=3 * 2**20, sha256="", reading={}, columns=[]
    )
    settings.OWNER_MB = 4
    owner_limits.check_storage(project, 2**20)
    with pytest.raises(AnnotationError, match=r"would keep 5 MB, more than the 4 MB"):
        owner_limits.check_storage(project, 2 * 2**20)


def test_an_owner_has_so_many_jobs_at_a_time_besides_short_ones(settings: Any) -> None:
    settings.OWNER_JOBS = 2
    project = make_project(rows=0)
    first = state.create_stage(project, kinds.EXPORT, user=None)
    state.create_stage(project, kinds.EXPORT, user=None)
    with pytest.raises(BusyError, match="2 jobs of your projects are running or waiting"):
        state.create_stage(project, kinds.LLM, user=None)
    state.create_stage(project, kinds.TRIAL, user=None)
    state.create_stage(make_project(rows=0, owner=make_user("piet")), kinds.LLM, user=None)
    Stage.objects.filter(pk=first.pk).update(status=Stage.Status.DONE)
    state.create_stage(project, kinds.LLM, user=None)
