"""Any number of numbers in one query: a database takes only so many parameters."""

from __future__ import annotations

import json
from collections.abc import Sequence

from django.db import connection
from django.db.models.expressions import RawSQL


def among(numbers: Sequence[int]) -> RawSQL:
    """The numbers as one parameter, for ``field__in``. PostgreSQL sees how many they are, and plans by that."""
    if connection.vendor == "postgresql":
        return RawSQL("SELECT unnest(%s::bigint[])", [list(numbers)])
    return RawSQL("SELECT value FROM json_each(%s)", [json.dumps(list(numbers))])
