"""Know an error that says that the disk is full, whichever layer it comes from."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from django.conf import settings

from annotation.messages import message
from mlcore.messages import Message

_FULL = (errno.ENOSPC, errno.EDQUOT)
_SQLITE_FULL = "SQLITE_FULL"
_POSTGRES_FULL = "53100"


def is_disk_full(error: BaseException) -> bool:
    """Whether the disk, or the share of it that the program may use, has no room left."""
    return any(_says_full(each) for each in _chain(error))


def no_room() -> Message:
    """What a person reads then."""
    return message(
        "The disk is full. What was stored is kept. Free space in the data folder (%(folder)s) or for the database, then resume.",
        folder=str(settings.DATA_DIR),
    )


def _says_full(error: BaseException) -> bool:
    return (
        (isinstance(error, OSError) and error.errno in _FULL)
        or getattr(error, "sqlite_errorname", "") == _SQLITE_FULL
        or getattr(error, "sqlstate", "") == _POSTGRES_FULL
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it was raised from or in place of (database drivers' and libraries' own)."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
