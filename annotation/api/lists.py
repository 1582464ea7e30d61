"""Long lists, a page at a time: each answer names where the next page begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from ninja import Schema
from pydantic import Field

MOST = 200


class PageQuery(Schema):
    """``after``: the ``next`` of the page before."""

    after: int | None = Field(None, ge=0, lt=10**18)
    limit: int = Field(50, ge=1, le=MOST)


def page_of(rows: QuerySet[Any], query: PageQuery, shown: Callable[[Any], Any]) -> dict[str, Any]:
    """The newest rows below the cursor, and where the next page begins (None at the end)."""
    if query.after is not None:
        rows = rows.filter(pk__lt=query.after)
    chosen = list(rows.order_by("-pk")[: query.limit + 1])
    items = chosen[: query.limit]
    return {
        "items": [shown(row) for row in items],
        "next": items[-1].pk if len(chosen) > len(items) else None,
    }
