"""The focus view, asked and answered as its script does."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

from tests.support.pages import Cast, one_line

JSON = {"accept": "application/json"}


def html_of(cast: Cast, query: str = "", role: str = "reviewer") -> str:
    answer = cast.client(role).get(cast.url(f"focus/{query}"))
    assert answer.status_code == 200
    return one_line(answer.content.decode())


def first_id(html: str) -> int:
    found = re.search(r'data-row="(\d+)"', html)
    assert found
    return int(found[1])


def answer_data(cast: Cast, sample_id: int, place: int = 0, **more: Any) -> dict[str, Any]:
    label = cast.project.label_list()[place]
    return {
        "id": uuid4(),
        "sample": sample_id,
        "label": label.pk,
        "version": 0,
        "because": "queue",
        "seconds": "2.5",
    } | more
