"""The first steps of a project's configuration."""

from __future__ import annotations

import re
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from annotation.models import Project


def make_empty(client: Client) -> Project:
    answer = client.post("/projects/new/", {"name": "Notes", "task_type": "topic"})
    project = Project.objects.get(name="Notes")
    assert answer["Location"] == f"/projects/{project.pk}/configure/data/"
    return project


def upload(client: Client, project: Project, content: bytes | str, name: str = "notes.csv") -> Any:
    data = content.encode() if isinstance(content, str) else content
    return client.post(
        f"/projects/{project.pk}/configure/data/upload/",
        {"file": SimpleUploadedFile(name, data)},
        follow=True,
    )


def ticked(html: str) -> list[int]:
    """The further files that are ticked to be imported as well."""
    return [int(number) for number in re.findall(r'name="then" value="(\d+)"[^>]* checked', html)]
