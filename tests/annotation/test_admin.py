from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from annotation.models import Correction, Iteration, Prediction, Project, Sample, Stage, Upload
from annotation.pipeline.project import configure
from annotation.pipeline.review import corrections
from mlcore.config import LlmConfig
from tests.support.pages import judge_rows, make_cast

pytestmark = pytest.mark.django_db

TOKEN = "hf_secret_token_9876"


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="correct horse battery"))
    return client


@pytest.fixture
def project() -> Project:
    cast = make_cast()
    judge_rows(cast.project)
    sample = cast.project.samples.get(position=0)
    corrections.correct_sample(sample.pk, label_id=cast.project.label_list()[1].pk, user=cast.users["owner"])
    configure.set_llm(cast.project, config=LlmConfig(kind="hub", model="org/name"), token=TOKEN)
    return cast.project


OURS = sorted(
    (model for model in admin.site._registry if model._meta.app_label in ("annotation", "auth")),
    key=lambda model: model.__name__,
)


@pytest.mark.parametrize("model", OURS, ids=lambda model: str(model.__name__))
def test_every_list_and_every_record_opens_and_shows_no_secret(
    staff: Client, project: Project, model: Any
) -> None:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    pages = [reverse(f"{name}_changelist"), reverse(f"{name}_changelist") + "?q=film"]
    if row := model.objects.first():
        pages.append(reverse(f"{name}_change", args=[row.pk]))
    for page in pages:
        answer = staff.get(page)
        assert answer.status_code == 200, page
        assert TOKEN not in answer.content.decode()
        assert "gAAAA" not in answer.content.decode()  # nor its ciphertext


@pytest.mark.parametrize(
    "model", [Prediction, Correction, Stage, Iteration, Sample, Upload], ids=lambda model: str(model.__name__)
)
def test_what_the_pipeline_owns_is_read_only(staff: Client, project: Project, model: Any) -> None:
    row = model.objects.first() or Upload.objects.create(
        project=project, name="x", stored_name="x", size=1, sha256="0"
    )
    name = f"admin:annotation_{model._meta.model_name}"
    assert staff.post(reverse(f"{name}_change", args=[row.pk]), {}).status_code == 403
    assert staff.post(reverse(f"{name}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    assert staff.get(reverse(f"{name}_add")).status_code == 403
    assert model.objects.filter(pk=row.pk).exists()


def test_only_staff_get_in(project: Project) -> None:
    client = Client()
    client.force_login(project.owner)
    assert client.get("/admin/")["Location"].startswith("/admin/login/")


def test_the_admins_policy_is_wider_and_only_there(staff: Client, project: Project) -> None:
    assert "'unsafe-eval'" in staff.get("/admin/")["Content-Security-Policy"]
    assert "unsafe-inline" not in staff.get("/admin/")["Content-Security-Policy"]
    assert "unsafe" not in staff.get("/")["Content-Security-Policy"]


def test_the_charts_library_that_the_pages_use_is_there() -> None:
    from django.contrib.staticfiles import finders

    find: Callable[[str], Any] = finders.find
    path = find("unfold/js/chart/chart.js")
    assert path
    assert 'version="4.' in Path(path).read_text(encoding="utf-8")
    assert find("unfold/fonts/inter/styles.css")
