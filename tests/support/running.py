"""A project whose LLM stage runs, and its pages."""

from __future__ import annotations

from typing import Any

from annotation.models import Stage
from tests.support.factories import start_llm_round
from tests.support.pages import Cast, one_line


def running(cast: Cast, **changed: Any) -> Stage:
    stage = start_llm_round(cast.project).stages.get()
    Stage.objects.filter(pk=stage.pk).update(
        **({"status": "running", "phase": "labeling", "done": 5} | changed)
    )
    stage.refresh_from_db()
    return stage


def html_of(cast: Cast, path: str, role: str = "owner") -> str:
    answer = cast.client(role).get(cast.url(path))
    assert answer.status_code == 200
    return one_line(answer.content.decode())
