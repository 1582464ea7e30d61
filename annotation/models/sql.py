"""Many rows: read in parts, and written by one prepared statement, which is several times as fast as ``bulk_create`` and
``bulk_update``, since these build every value anew."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from operator import attrgetter
from typing import Any, TypeVar

from django.db import connection, models
from django.db.models.expressions import Combinable, ExpressionWrapper, RawSQL
from django.db.models.functions import Now

_Row = TypeVar("_Row")

LOCK_SECONDS = 1  # a page whose write waits longer keeps its reader waiting, too


@contextmanager
def little_patience() -> Iterator[None]:
    """Let a write fail after :data:`LOCK_SECONDS`, where SQLite waits for another process's lock for the usual time."""
    if connection.vendor != "sqlite":
        yield
        return
    usual = connection.settings_dict["OPTIONS"].get("timeout", 5)
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA busy_timeout={LOCK_SECONDS * 1000}")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA busy_timeout={usual * 1000}")


def parts_by_key(
    rows: models.QuerySet[Any, _Row], key: str, size: int, key_of: Callable[[_Row], int] | None = None
) -> Iterator[list[_Row]]:
    """The rows in the order of a unique key from 0, ``size`` at a time, each part as the rows match when it is read.

    Neither memory nor a lock grows with the number of rows.

    Args:
        key_of: takes the key from a row that is no model instance.
    """
    last = -1
    while part := list(rows.filter(**{f"{key}__gt": last}).order_by(key)[:size]):
        yield part
        last = (key_of or attrgetter(key))(part[-1])


def insert_rows(
    model: type[models.Model],
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    unique: Sequence[str],
    update: Sequence[str] = (),
) -> None:
    """Insert rows; those that are there already get their ``update`` columns written anew, or are left as they are.

    Args:
        columns: names of database columns; others get their field's default, or null.
        rows: values as the database driver takes them (JSON as text).
        unique: the columns of the constraint by which rows are known.
        update: columns that are written where the row is there.
    """
    if not rows:
        return
    quote: Callable[[str], str] = connection.ops.quote_name
    rest = {
        field.column: field.get_default()
        for field in model._meta.concrete_fields
        if field.column and field.column not in columns and not field.primary_key and not field.null
    }
    names = [*columns, *rest]
    does = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in update)
    statement = (
        f"INSERT INTO {quote(model._meta.db_table)} ({_listed(names)}) "  # noqa: S608 - our own names
        f"VALUES ({', '.join(['%s'] * len(names))}) "
        f"ON CONFLICT ({_listed(unique)}) DO {f'UPDATE SET {does}' if does else 'NOTHING'}"
    )
    defaults = tuple(rest.values())
    with connection.cursor() as cursor:
        cursor.executemany(statement, [(*row, *defaults) for row in rows])


def update_rows(model: type[models.Model], columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write columns of rows that are there.

    Args:
        columns: names of database columns.
        rows: their values as the database driver takes them (JSON as text), and the row's id last.
    """
    quote: Callable[[str], str] = connection.ops.quote_name
    sets = ", ".join(f"{quote(name)} = %s" for name in columns)
    statement = f"UPDATE {quote(model._meta.db_table)} SET {sets} WHERE id = %s"  # noqa: S608 - our own names
    with connection.cursor() as cursor:
        cursor.executemany(statement, rows)


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(connection.ops.quote_name(column) for column in columns)


def among(numbers: Sequence[int]) -> RawSQL:
    """The numbers as one parameter, for ``field__in``. PostgreSQL sees how many they are, and plans by that."""
    if connection.vendor == "postgresql":
        return RawSQL("SELECT unnest(%s::bigint[])", [list(numbers)])
    return RawSQL("SELECT value FROM json_each(%s)", [json.dumps(list(numbers))])


def from_now(*, seconds: float) -> Combinable:
    """A time by the database's clock, so many seconds from now: machines' clocks differ, and one of them must count."""
    return ExpressionWrapper(Now() + timedelta(seconds=seconds), output_field=models.DateTimeField())
