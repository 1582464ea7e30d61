"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to; it takes the place of ``path`` once its content is on disk.

    After an error ``path`` is what it was before.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    yield temporary
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def write_folder(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Return ``folder``; if it isn't there, it is filled first, and appears under its name only when it is whole.

    An interrupted ``fill`` leaves nothing to trip over, and two processes that fill at once don't disturb each other.
    """
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder.parent))
    try:
        fill(unfinished)
        try:
            unfinished.replace(folder)
        except OSError:
            if not folder.exists():  # else another process was first, and its result is the same
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder
