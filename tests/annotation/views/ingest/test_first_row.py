"""A file without column names: said on the preview, and changed by a click."""

from __future__ import annotations

import pytest
from django.test import Client

from annotation.models import Upload
from tests.support.configuring import make_empty, upload
from tests.support.factories import make_user

pytestmark = pytest.mark.django_db

NAMELESS = (
    "good,it was a fine film\nbad,the film was poor\ngood,fine again and again\nbad,I left before the end\n"
)


def test_a_first_row_that_is_a_row_is_said_and_changed_by_a_click() -> None:
    owner = Client()
    owner.force_login(make_user())
    project = make_empty(owner)
    html = upload(owner, project, NAMELESS).content.decode()
    assert "“good” stands in the same column again" in html.replace("&quot;", '"')
    assert 'name="first_row" value="names"' in html
    stored = Upload.objects.get()
    assert stored.columns == ["column 1", "column 2"]
    url = f"/projects/{project.pk}/configure/data/{stored.pk}/"
    html = owner.post(url, {"first_row": "names"}, follow=True).content.decode()
    assert "first_row" not in html
    stored.refresh_from_db()
    assert stored.columns == ["good", "it was a fine film"]
