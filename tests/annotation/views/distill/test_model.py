from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from django.test import Client

from annotation.jobs import kinds
from annotation.models import Activity
from tests.support.kept import add_rows, project_with_model
from tests.support.pages import make_cast, one_line

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_page_tells_of_the_model_and_labels_new_rows(tmp_path: Path, settings: Any) -> None:
    settings.RUN_DIR, settings.CACHE_DIR = tmp_path / "runs", tmp_path / "cache"
    project = project_with_model()
    client = Client()
    client.force_login(project.owner)
    address = f"/projects/{project.pk}/model/"
    assert "Label the new rows" not in client.get(address).content.decode()
    add_rows(project)
    html = one_line(client.get(address).content.decode())
    assert "12 rows have no label of the small model" in html
    assert "Label the new rows with the kept model" in html
    packed = b"".join(client.get(f"{address}download/").streaming_content)  # type: ignore[attr-defined]
    assert {"README.md", "config.json", "model.safetensors"} <= set(ZipFile(BytesIO(packed)).namelist())
    assert Activity.objects.filter(project=project, verb=Activity.Verb.DOWNLOADED).exists()
    assert client.post(f"{address}new-rows/").status_code == 302
    assert project.stages.get(kind=kinds.NEW_ROWS.key).total == 12


def test_only_owners_start_it_and_without_a_model_there_is_a_sentence() -> None:
    cast = make_cast()
    assert cast.client("reviewer").post(cast.url("model/new-rows/")).status_code == 403
    assert "There is no model yet" in cast.client("viewer").get(cast.url("model/")).content.decode()
    answer = cast.client("owner").post(cast.url("model/new-rows/"), follow=True)
    assert "no kept model" in answer.content.decode()
    assert cast.client("stranger").get(cast.url("model/download/")).status_code == 404
