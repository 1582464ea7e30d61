"""Pages that only show something write nothing, so they work while the database can't be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.test import Client

from tests.support.pages import Cast, judge_rows, make_cast

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def cast() -> Cast:
    cast = make_cast()
    judge_rows(cast.project)
    return cast


@contextmanager
def read_only() -> Iterator[None]:
    """A database that refuses every change, as a full disk does."""
    on, off = ("PRAGMA query_only=ON", "PRAGMA query_only=OFF")
    if connection.vendor == "postgresql":
        on, off = (f"SET SESSION CHARACTERISTICS AS TRANSACTION READ {what}" for what in ("ONLY", "WRITE"))
    with connection.cursor() as cursor:
        cursor.execute(on)
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(off)


@pytest.mark.parametrize(
    "path",
    [
        "review/",
        "review/?show=wrong",
        "focus/",
        "accuracy/",
        "export/",
        "labeling/",
        "filtering/",
        "rounds/",
        "members/",
    ],
)
def test_a_page_is_shown_while_nothing_can_be_written(cast: Cast, path: str) -> None:
    client = cast.client("owner")
    cache.clear()
    with read_only():
        assert client.get(cast.url(path)).status_code == 200
        assert client.get("/").status_code == 200


def test_a_change_is_refused_meanwhile(cast: Cast) -> None:
    label = cast.project.labels.get(name="negative")
    with read_only(), pytest.raises(Exception, match=r"readonly|read-only"), transaction.atomic():
        cast.project.samples.update(label=label)


def test_health_tells_that_nothing_can_be_written_and_readiness_refuses(cast: Cast) -> None:
    with read_only():
        assert Client().get("/healthz").json()["database"] == "read-only"
        assert Client().get("/readyz").status_code == 503
    assert Client().get("/healthz").json()["database"] == "ok"
    assert Client().get("/readyz").json() == {"status": "ready"}
