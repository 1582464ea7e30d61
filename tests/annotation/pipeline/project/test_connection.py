"""What is kept of a connection to a language model."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.db import connection as database

from annotation.models import Project
from annotation.pipeline.project import configure, connection
from annotation.pipeline.project.text_length import count_cut_rows
from mlcore.config import LlmConfig
from mlcore.llm.endpoint.capabilities import Capabilities
from tests.support.factories import make_project

pytestmark = pytest.mark.django_db(transaction=True)

CONFIG = LlmConfig(kind="endpoint", base_url="http://127.0.0.1:1/v1", model="m")


def test_what_was_found_out_belongs_to_one_server_and_model() -> None:
    project, found = make_project(), Capabilities(temperature=False, room=1_024)
    connection.remember(project, CONFIG, found)
    stored = Project.objects.get(pk=project.pk)
    assert connection.known_of(stored, CONFIG) == found
    assert connection.known_of(stored, replace(CONFIG, model="another")) is None
    assert connection.known_of(stored, replace(CONFIG, extra_body='{"seed": 1}')) is None


def test_headers_are_encrypted_and_never_follow_to_another_server() -> None:
    project = make_project()
    configure.set_llm(project, config=CONFIG, token="t", headers="api-key: s3cret\nX-Org: 7")
    stored = Project.objects.get(pk=project.pk)
    assert connection.headers_of(stored) == {"api-key": "s3cret", "X-Org": "7"}
    assert connection.header_names(stored) == ["api-key", "X-Org"]
    with database.cursor() as cursor:
        cursor.execute("SELECT llm_headers FROM annotation_project")
        assert "s3cret" not in str(cursor.fetchall())

    configure.set_llm(stored, config=replace(CONFIG, model="another"), token=None)
    assert stored.llm_headers
    configure.set_llm(stored, config=replace(CONFIG, base_url="http://other/v1"), token=None)
    assert (stored.llm_headers, stored.llm_token) == ("", "")


def test_rows_that_are_longer_than_what_the_model_reads_are_counted() -> None:
    project = make_project()
    lengths = [len(text) for text in project.samples.values_list("text", flat=True)]
    assert count_cut_rows(project, max(lengths)) == 0
    assert count_cut_rows(project, max(lengths) - 1) == lengths.count(max(lengths))
